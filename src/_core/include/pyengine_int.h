/* Reading Python ints without a call. */
#ifndef PYENGINE_INT_H
#define PYENGINE_INT_H

#include <Python.h>
#include <stdint.h>

/* The value of an int (not of a subclass) that is small enough to be read in place; 0 for anything else, which then has
 * to go through the functions of the interpreter. Up to 2**63 until Python 3.11, up to one digit of 30 bits later. */
static inline int pye_plain_int(PyObject *value, int64_t *number) {
    if (!PyLong_CheckExact(value)) return 0;
#if PY_VERSION_HEX >= 0x030C0000
    if (!PyUnstable_Long_IsCompact((PyLongObject *)value)) return 0;
    *number = (int64_t)PyUnstable_Long_CompactValue((PyLongObject *)value);
    return 1;
#elif PYLONG_BITS_IN_DIGIT == 30
    const digit *d = ((PyLongObject *)value)->ob_digit;
    switch (Py_SIZE(value)) {
    case 1: *number = (int64_t)d[0]; return 1;
    case 2: *number = (int64_t)((uint64_t)d[0] | (uint64_t)d[1] << 30); return 1;
    case 0: *number = 0; return 1;
    case 3:
        if (d[2] >= 8) return 0;
        *number = (int64_t)((uint64_t)d[0] | (uint64_t)d[1] << 30 | (uint64_t)d[2] << 60);
        return 1;
    case -1: *number = -(int64_t)d[0]; return 1;
    default: return 0;
    }
#else
    return 0;
#endif
}

#endif
