# Helpers of all three boundaries: each .pyx includes this file, because modules outside a package cannot cimport one
# another.

from libc.stdint cimport uintptr_t

cdef Py_ssize_t SEGMENT = 1 << 25  # elements that a thread handles between two checks for signals


cdef inline void *address(object array) except NULL:
    return <void *><uintptr_t>array.ctypes.data


cdef int check_shape(Py_ssize_t m, Py_ssize_t n, Py_ssize_t rows, Py_ssize_t columns) except -1:
    """Raise ValueError unless an argument has the shape (m, n) that the others imply."""
    if rows != m or columns != n:
        raise ValueError(f"an argument has shape {(rows, columns)}, the others require {(m, n)}")
    return 0
