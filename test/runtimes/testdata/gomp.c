// Prints how many threads OpenMP plans with, and how many ran.
#include <omp.h>
#include <stdio.h>

int main(void)
{
	int ran = 0;

#pragma omp parallel reduction(+ : ran)
	ran++;
	printf("threads=%d\nran=%d\nprocs=%d\n", omp_get_max_threads(), ran, omp_get_num_procs());
	return 0;
}
