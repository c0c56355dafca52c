"""Records out of objects and arrays, checked, and back: what every store does with what it is given, and its answers."""

from pyengine._core.names cimport Names
from pyengine._core.order cimport OrderRecord
from pyengine._core.order_query cimport OrderBlock
from pyengine._core.records cimport Event


cdef int order_record_in(object order, Names names, bint lent, OrderRecord* record) except -1
cdef object order_records_in(object orders, Names names, bint lent)
cdef int trade_record_in(object trade, Names names, bint lent, Event* record) except -1
cdef object trade_records_in(object trades, Names names, bint lent)
cdef list order_block_objects(OrderBlock* block, int code, Names names)
cdef object order_block_array(OrderBlock* block, int code)
