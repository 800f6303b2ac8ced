// A program that asks its libc what a test tells it to: one command a line on
// standard input, one answer a line on standard output.
//
// A command may begin with where it is to run: "fork", "vfork", "thread",
// "signal", in any combination.

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

int JVM_ActiveProcessorCount(void) __attribute__((weak));

static void run(char *command);

// The answer so far. It is not written by the libc's streams, which make
// system calls of their own choice.
static char answer[8192];
static size_t answered;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	answered += vsnprintf(answer + answered, sizeof answer - answered, format, args);
	va_end(args);
}

static void flush(void)
{
	if (write(1, answer, answered) != (ssize_t)answered)
		abort();
	answered = 0;
}

// Masks are written as "0,2,5".
static void print_mask(const cpu_set_t *set)
{
	const char *comma = "";

	for (int c = 0; c < CPU_SETSIZE; c++) {
		if (CPU_ISSET(c, set)) {
			say("%s%d", comma, c);
			comma = ",";
		}
	}
}

static void parse_mask(char *list, cpu_set_t *set)
{
	CPU_ZERO(set);
	for (char *c = strtok(list, ","); c != NULL; c = strtok(NULL, ","))
		CPU_SET(atoi(c), set);
}

static pid_t tid_of(const char *who)
{
	if (strcmp(who, "self") == 0)
		return 0;
	if (strcmp(who, "pid") == 0)
		return getpid();
	if (strcmp(who, "tid") == 0)
		return syscall(SYS_gettid);
	return atoi(who);
}

static void get_affinity(const char *who)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof set);
	if (sched_getaffinity(tid_of(who), sizeof set, &set) != 0)
		say("errno %d", errno);
	else
		print_mask(&set);
}

// A buffer of so many bytes within a larger one, which must stay untouched.
static void get_affinity_bytes(size_t bytes)
{
	unsigned char buffer[4096];

	memset(buffer, 0xff, sizeof buffer);
	int r = sched_getaffinity(0, bytes, (cpu_set_t *)buffer);
	int error = errno;
	for (size_t i = bytes; i < sizeof buffer; i++) {
		if (buffer[i] != 0xff) {
			say("byte %zu was written", i);
			return;
		}
	}
	if (r != 0)
		say("errno %d", error);
	else
		say("%d", CPU_COUNT_S(bytes, (cpu_set_t *)buffer));
}

static void set_affinity(char *list)
{
	cpu_set_t set;

	parse_mask(list, &set);
	say("errno %d", sched_setaffinity(0, sizeof set, &set) != 0 ? errno : 0);
}

static void get_raw_affinity(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	syscall(SYS_sched_getaffinity, 0, sizeof set, &set);
	print_mask(&set);
}

static void *noop(void *p)
{
	return p;
}

static void create_bound(char *list)
{
	int error = ENOSYS;
#ifdef __GLIBC__
	cpu_set_t set;
	pthread_attr_t attr;
	pthread_t thread;

	parse_mask(list, &set);
	pthread_attr_init(&attr);
	error = pthread_attr_setaffinity_np(&attr, sizeof set, &set);
	if (error == 0)
		error = pthread_create(&thread, &attr, noop, NULL);
	if (error == 0)
		pthread_join(thread, NULL);
	pthread_attr_destroy(&attr);
#else
	(void)list;
	(void)noop;
#endif
	say("error %d", error);
}

static void pthread_get(void)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof set);
	int error = pthread_getaffinity_np(pthread_self(), sizeof set, &set);
	if (error != 0)
		say("error %d", error);
	else
		print_mask(&set);
}

static void pthread_set(char *list)
{
	cpu_set_t set;

	parse_mask(list, &set);
	say("error %d", pthread_setaffinity_np(pthread_self(), sizeof set, &set));
}

static void print_sysinfo(void)
{
	struct sysinfo s;

	if (sysinfo(&s) != 0) {
		say("errno %d", errno);
		return;
	}
	say("uptime=%ld loads=%lu,%lu,%lu total=%lu free=%lu shared=%lu buffer=%lu swap=%lu freeswap=%lu procs=%d unit=%u",
	       s.uptime, s.loads[0], s.loads[1], s.loads[2], s.totalram, s.freeram, s.sharedram, s.bufferram,
	       s.totalswap, s.freeswap, s.procs, s.mem_unit);
}

static void print_loads(int n)
{
	double loads[3] = {-1, -1, -1};
	int got = getloadavg(loads, n);

	say("%d: %.2f %.2f %.2f", got, loads[0], loads[1], loads[2]);
}

// In seccomp's strict mode a system call other than read, write and exit
// kills the process.
static void strict(char *command)
{
	flush();
	prctl(PR_SET_SECCOMP, 1 /* SECCOMP_MODE_STRICT */);
	run(command);
	flush();
	syscall(SYS_exit, 0);
}

// Makes a system call fail with EPERM from now on, as a seccomp profile does.
// The filter's instructions are of <linux/filter.h>, which musl-gcc has not.
static void deny(int number)
{
	struct {
		uint16_t code;
		uint8_t jt, jf;
		uint32_t k;
	} filter[] = {
		{0x20, 0, 0, 0},			       // load the number
		{0x15, 0, 1, (uint32_t)number},		       // equal: the next, else the one after
		{0x06, 0, 0, 0x00050000 | 1 /* EPERM */},      // SECCOMP_RET_ERRNO
		{0x06, 0, 0, 0x7fff0000},		       // SECCOMP_RET_ALLOW
	};
	struct {
		uint16_t length;
		void *filter;
	} program = {4, filter};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	say("%d", prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, &program));
}

static void *run_thread(void *command)
{
	run(command);
	return NULL;
}

static char *signal_command;

static void handler(int signal)
{
	(void)signal;
	run(signal_command);
}

static void run_child(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		say("child failed");
}

static void run_in(const char *where, char *command)
{
	pthread_t thread;

	flush();
	if (strcmp(where, "fork") == 0 || strcmp(where, "vfork") == 0) {
		pid_t pid = *where == 'v' ? vfork() : fork();
		if (pid == 0) {
			run(command);
			flush();
			_exit(0);
		}
		run_child(pid);
	} else if (strcmp(where, "thread") == 0) {
		pthread_create(&thread, NULL, run_thread, command);
		pthread_join(thread, NULL);
	} else if (strcmp(where, "signal") == 0) {
		signal_command = command;
		signal(SIGUSR1, handler);
		raise(SIGUSR1);
	} else if (strcmp(where, "strict") == 0) {
		strict(command);
	}
}

// ask answers the commands without an operand, and tells whether it knew it.
static int ask(const char *verb)
{
	if (strcmp(verb, "jvm") == 0)
		say("%d", JVM_ActiveProcessorCount ? JVM_ActiveProcessorCount() : -1);
	else if (strcmp(verb, "nprocs") == 0)
		say("%d", get_nprocs());
	else if (strcmp(verb, "nprocs_conf") == 0)
		say("%d", get_nprocs_conf());
	else if (strcmp(verb, "phys_pages") == 0)
		say("%ld", get_phys_pages());
	else if (strcmp(verb, "avphys_pages") == 0)
		say("%ld", get_avphys_pages());
	else if (strcmp(verb, "sysinfo") == 0)
		print_sysinfo();
	else if (strcmp(verb, "raw_affinity") == 0)
		get_raw_affinity();
	else if (strcmp(verb, "pthread_getaffinity") == 0)
		pthread_get();
	else
		return 0;
	return 1;
}

static void tell(const char *verb, char *operand)
{
	if (strcmp(verb, "sysconf") == 0) {
		errno = 0;
		long value = sysconf(atoi(operand));
		say("%ld errno %d", value, errno);
	} else if (strcmp(verb, "getaffinity") == 0)
		get_affinity(operand);
	else if (strcmp(verb, "getaffinity_bytes") == 0)
		get_affinity_bytes(atoi(operand));
	else if (strcmp(verb, "setaffinity") == 0)
		set_affinity(operand);
	else if (strcmp(verb, "pthread_setaffinity") == 0)
		pthread_set(operand);
	else if (strcmp(verb, "create_bound") == 0)
		create_bound(operand);
	else if (strcmp(verb, "loads") == 0)
		print_loads(atoi(operand));
	else if (strcmp(verb, "setenv") == 0) {
		char *value = strchr(operand, '=');
		*value++ = '\0';
		say("%d", setenv(operand, value, 1));
	} else if (strcmp(verb, "unsetenv") == 0)
		say("%d", unsetenv(operand));
	else if (strcmp(verb, "deny") == 0)
		deny(atoi(operand));
	else if (strcmp(verb, "chroot") == 0)
		say("%d", chroot(operand));
	else
		run_in(verb, operand);
}

static void run(char *command)
{
	char *operand = strchr(command, ' ');

	if (operand != NULL)
		*operand++ = '\0';
	if (!ask(command))
		tell(command, operand == NULL ? command + strlen(command) : operand);
}

int main(void)
{
	static char line[4096];

	while (fgets(line, sizeof line, stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		run(line);
		say("\n");
		flush();
	}
	return 0;
}
