"""Who may enter the compiler: nobody who is inside it already, and no child that cannot leave it."""

from numba.core.compiler_lock import global_compiler_lock

from fastnn._forks import inherited


def check_entry() -> None:
    """Refuse a call from Python that has to compile or load code, where the compiler cannot be entered.

    Compiling a kernel compiles what it calls, and comes here for none of it. A call that comes here while its
    thread has Numba's compiler lock interrupts the compiler: a signal handler, mostly, which Python also runs
    inside the functions that LLVM calls back. A second module that is linked then ends the process.

    Raises
    ------
    RuntimeError
        The calling thread is compiling or loading code, or this process was forked while another thread was.
    """
    if inherited.compiler:
        raise RuntimeError(
            "fastnn cannot compile or load code in this process: it was forked while another thread of its "
            "parent was compiling, and the fork could not wait for that thread. Call fastnn.precompile() "
            "before threads are started and processes forked, or start processes by 'spawn' or 'forkserver'."
        )
    if global_compiler_lock.is_locked():
        raise RuntimeError(
            "fastnn was called by what interrupted the compiling or loading of code in the same thread, such "
            "as a signal handler, and needs code that is not loaded yet. LLVM cannot be entered twice. Let "
            "the handler take a note and fit later, or make the same call once before it is installed."
        )
