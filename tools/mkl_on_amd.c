/* MKL calls this function to find out whether the processor is from Intel, and runs slow code if
 * it returns 0. A library loaded before torch replaces MKL's function: see asrlib/mkl.py. */
int mkl_serv_intel_cpu_true(void) { return 1; }
