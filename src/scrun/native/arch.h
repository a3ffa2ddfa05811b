/* All that depends on the processor: how the kernel is called, and how a program without a C library begins. */
#ifndef SCRUN_ARCH_H
#define SCRUN_ARCH_H

#if defined(__x86_64__)

static inline long system_call(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* begin(stack): argc, the arguments, and the environment lie there. */
#define PROGRAM_START \
    __asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");

#elif defined(__aarch64__)

static inline long system_call(long number, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
    return x0;
}

#define PROGRAM_START __asm__(".globl _start\n_start:\n mov x29, #0\n mov x0, sp\n bl begin\n");

#else
#error "scrun-node knows x86-64 and arm64 only: add the two definitions above for this processor"
#endif

#endif
