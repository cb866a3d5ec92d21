# Helpers of all boundaries: each .pyx includes this file, because modules outside a package cannot cimport one
# another.

from cpython.buffer cimport PyBUF_STRIDED_RO, PyBuffer_Release, PyObject_GetBuffer

cdef Py_ssize_t SEGMENT = 1 << 25  # elements that a thread handles between two checks for signals


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
