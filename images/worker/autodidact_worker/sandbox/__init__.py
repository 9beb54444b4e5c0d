"""Runs Python programs that a model wrote, which may be hostile, and returns their answers.

``pool`` is the worker's side. It starts runners: processes of their own, by exec, with an empty
environment and no open file of the worker's. A ``runner`` imports sympy once, locks itself in, and
forks a child for each program; the child locks itself in further, for good, and runs ``program``.

What each layer keeps a program from:

- ``no_new_privs`` and ``capabilities``: gaining rights, by set-user-id files or as root.
- ``landlock-<ABI>``: opening any file but the standard library, sympy, mpmath and the system's
  shared libraries (to read) and its own temporary directory. So no ``/proc``, ``/sys``, ``/dev``,
  ``/tmp``, home, mounted secret, scratch or site-packages. From ABI 4 on also TCP, from ABI 6 on
  signals to processes and abstract sockets outside.
- ``seccomp``: every system call that is not on a list of some ninety: no socket of any family, no
  process and no thread, no exec, no signal to anybody, no ptrace, no reading of other processes,
  no change of owner, mode or times of a file, no namespaces, mounts, keys, shared memory,
  memory files, io_uring, perf or bpf. System calls of another architecture kill the program.
- ``rlimits``: more memory, processor time, open files, file size or stack than the limits say,
  core files, locked memory, message queues. The runner watches the wall clock, the bytes printed
  and what the temporary directory holds, and kills the program.
- ``namespaces``: where the machine allows them, the program also has a file system in which
  nothing else exists, a temporary directory in memory of fixed size, no network device that is
  up, and no process outside that it could name.

A layer counts as in force only after a trial program has found it so. Without ``seccomp``, or with
neither ``landlock`` nor ``namespaces``, nothing runs.

What the sandbox does not protect from: faults of the kernel, and what can be learnt from timing and
caches of the processor. Give the pods a ``runtimeClassName`` such as gVisor's against those. A
program can also see, without namespaces, whether a path exists and what ``stat`` says of it, and the
names (no more) in the standard library's directory, site-packages among them. It can claim any
answer it likes, and it can use a processor for as long as its time lasts.
"""
