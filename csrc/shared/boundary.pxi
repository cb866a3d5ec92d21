# Helpers of all boundaries. Each .pyx includes this file, because modules outside a package cannot cimport one another.

from cpython.buffer cimport PyBUF_STRIDED_RO, PyBuffer_Release, PyObject_GetBuffer

cdef extern from "shared/interrupt.h" nogil:
    int (*mf_poll)() noexcept nogil
    int mf_interrupted(double work)
    int mf_ended()

cdef extern from "Python.h":
    int signals "PyErr_CheckSignals"() noexcept  # leaves the exception of a handler set


cdef int poll() noexcept with gil:
    return signals()


mf_poll = poll  # each module has a variable of its own


cdef int ended() except -1:
    """Raise the exception of a signal that has ended a call early; called after every call without the GIL."""
    return -1 if mf_ended() else 0


cdef inline void *address(object array) except NULL:
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_STRIDED_RO)
    cdef void *start = view.buf
    PyBuffer_Release(&view)
    return start


cdef int check_shape(Py_ssize_t m, Py_ssize_t n, Py_ssize_t rows, Py_ssize_t columns) except -1:
    """Raise ValueError unless an argument has the shape (m, n) that the others imply."""
    if rows != m or columns != n:
        raise ValueError(f"an argument has shape {(rows, columns)}, the others require {(m, n)}")
    return 0


cdef int check_aligned(size_t addresses, size_t item=8) except -1:
    """Raise ValueError unless all addresses, combined by |, are multiples of the size of an element."""
    if addresses & (item - 1):
        raise ValueError("an argument is not aligned in memory: pass a copy of it")
    return 0
