"""Arrays of records as bytes: the loop around the kernels that write one kind of row each.

A kernel runs without the GIL until it is done, has no room, meets a number that isn't spelt yet, or a row that is no record. It
works on its own copy of each row, so a caller who writes into the array meanwhile gets a wrong row and no crash.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport INT64_MIN
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from pyengine._core.name_texts cimport NameTexts, texts_of
from pyengine._core.names cimport Names
from pyengine._core.order cimport order_expectation
from pyengine._core.store_shell cimport trade_expectation
from pyengine.errors import FieldError, FieldTypeError


cdef extern from "Python.h":
    PyObject* raw_bytes "PyBytes_FromStringAndSize" (const char* text, Py_ssize_t size) except NULL
    int raw_resize "_PyBytes_Resize" (PyObject** text, Py_ssize_t size) except -1
    char* raw_text "PyBytes_AS_STRING" (PyObject* text) noexcept


cdef int refuse_row(str field, object rows, size_t at, str name) except -1:
    """Raise for a row that is no record."""
    cdef str expected = trade_expectation(name) if field == "trades" else order_expectation(name)
    raise FieldError(f"{field}[{at}].{name}", rows[at][name].item(), expected)


cdef int look_up(Encoding* e, int outcome, Names names, NameTexts texts, str field) except -1:
    """Spell the name behind the number that a kernel met, or raise because there is none."""
    if outcome == NEW_INSTRUMENT:
        if not texts.spell_instrument(names, e.number):
            raise FieldError(f"{field}[{e.at}].instrument", e.number, "the number of an instrument that the store knows")
    elif not texts.spell_user(names, e.number):
        raise FieldError(f"{field}[{e.at}].user", e.number, "a name that the store knows")
    e.instruments, e.instrument_count = texts.instruments, texts.instrument_count
    e.users, e.user_count = texts.users, texts.user_count
    return 0


cdef int enlarge(Encoding* e, PyObject** text, size_t tail, size_t row_bytes) except -1:
    """Make room for the rows that are left, going by those that are written."""
    cdef size_t used = <size_t>(e.out - e.start)
    cdef size_t each = max(row_bytes, used // e.at if e.at != 0 else 0)
    cdef size_t room = used + (e.count - e.at) * each + each * 8 + used // 16 + tail + 8192
    raw_resize(text, room)
    e.start = raw_text(text[0])
    e.out = e.start + used
    e.end = e.start + room - tail
    return 0


cdef bytes encode(str field, object rows, object names, Kernel kernel, size_t row_bytes, bytes head, bytes tail, size_t* ends):
    """
    Write all rows, between `head` and `tail`. O(bytes).

    Parameters
    ----------
    field : "trades" or "orders"
        What errors call the rows.
    rows : contiguous array of records
    names : Names
    row_bytes : int
        A good guess at the length of a row.
    ends : pointer to one integer a row, or NULL
        Gets where each row ends.

    Raises
    ------
    FieldTypeError, FieldError, MemoryError
    """
    cdef Encoding e
    cdef Py_buffer buffer
    cdef PyObject* text = NULL
    cdef NameTexts texts
    cdef int outcome
    cdef size_t ending = PyBytes_GET_SIZE(tail)
    if not isinstance(names, Names):
        raise FieldTypeError("names", names, "Names")
    texts = texts_of(names)
    memset(&e, 0, sizeof(Encoding))
    e.count, e.ends, e.clock.second = len(rows), ends, INT64_MIN
    e.instruments, e.instrument_count = texts.instruments, texts.instrument_count
    e.users, e.user_count = texts.users, texts.user_count
    PyObject_GetBuffer(rows, &buffer, PyBUF_SIMPLE)
    try:
        text = raw_bytes(NULL, 0)
        e.rows, e.start, e.out = <const char*>buffer.buf, raw_text(text), raw_text(text)
        enlarge(&e, &text, ending, row_bytes)
        e.out = put_bytes(e.out, PyBytes_AS_STRING(head), <uint16_t>PyBytes_GET_SIZE(head))
        while True:
            with nogil:
                outcome = kernel(&e)
            if outcome == ENCODED:
                break
            if outcome == NO_ROOM:
                enlarge(&e, &text, ending, row_bytes)
            elif outcome == FAULTY:
                refuse_row(field, rows, e.at, e.fault.decode())
            else:
                look_up(&e, outcome, names, texts, field)
        e.out = put_bytes(e.out, PyBytes_AS_STRING(tail), <uint16_t>ending)
        raw_resize(&text, e.out - e.start)
        return <bytes>text
    finally:
        Py_XDECREF(text)
        PyBuffer_Release(&buffer)


cdef list encode_each(str field, object rows, object names, Kernel kernel, size_t row_bytes):
    """Write each row into bytes of its own; arguments and errors as of `encode`."""
    cdef size_t n = len(rows), i, before = 0
    cdef size_t* ends = <size_t*>malloc(n * sizeof(size_t) + 1)
    cdef list values = []
    cdef bytes text
    if ends == NULL:
        raise MemoryError(f"no memory for the places of {n} rows")
    try:
        text = encode(field, rows, names, kernel, row_bytes, b"", b"", ends)
        for i in range(n):
            values.append(PyBytes_FromStringAndSize(PyBytes_AS_STRING(text) + before, ends[i] - before))
            before = ends[i]
        return values
    finally:
        free(ends)
