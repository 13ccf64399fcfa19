/* crash.h - the last words of a process that dies by a signal: whose fault it was (F6).
 *
 * To stderr: the signal, the plugin, hook and connection that the thread was busy with, the version
 * and the addresses on the stack. Then the signal takes its course: exit status and core dump are
 * as if nobody had looked. Everything in the handler is async-signal-safe but the walk of the
 * stack, which comes last and has a second to succeed. */
#pragma once

/* For SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT, on every thread. */
void crash_watch(void);
/* Lets the calling thread be heard, whatever signals it was made with, and gives it a stack for the
 * handler, in case that it has used up its own. */
void crash_thread_begin(void);
