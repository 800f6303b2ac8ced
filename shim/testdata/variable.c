// A library with a variable that has the name of a libc's function.
int get_nprocs_conf = 1;
