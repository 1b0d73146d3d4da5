/* MKL asks this function whether the processor is Intel's, and runs SSE code where the answer is
 * no. Loaded before torch, this answer takes the place of MKL's own: see asrlib/mkl.py. */
int mkl_serv_intel_cpu_true(void) { return 1; }
