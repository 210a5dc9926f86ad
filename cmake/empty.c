/* empty.c - a shared library needs one source of its own; everything else comes from the modules. */
typedef int tomo_empty;
