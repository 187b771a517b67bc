// hostile misbehaves in the way its first argument names; ../README.md has the
// list. What is expected of the host is in the engine's tests.
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

// sink keeps the compiler from leaving out what has no other effect.
static volatile uint32_t sink, zero;

#define FOREVER for (;;)

static void loop(void) {
	FOREVER sink++;
}

// A loop whose body is one branch: nothing but its header can be metered.
static void empty_loop(void) {
	FOREVER __asm__ volatile("");
}

// Optimized, one of the two calls would become a loop.
static __attribute__((noinline, optnone)) uint32_t fib(uint32_t n) {
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

// Exponential recursion without a loop.
static void fib60(void) { sink = fib(60); }

static __attribute__((noinline)) uint32_t deep(uint32_t n) {
	return n == zero - 1 ? 0 : deep(n + 1) + sink; // not a tail call, no memory
}

static void recursion(void) { sink = deep(0); }

static __attribute__((noinline)) uint32_t deep_frames(uint32_t n) {
	volatile char frame[1024];
	frame[n % sizeof frame] = (char)n;
	return n == zero - 1 ? 0 : deep_frames(n + 1) + (uint32_t)frame[sink % sizeof frame];
}

// Recursion that uses up the stack in memory too.
static void recursion_frames(void) { sink = deep_frames(0); }

static uint32_t (*volatile indirect)(uint32_t);
static __attribute__((noinline)) uint32_t deep_indirect(uint32_t n) {
	return n == zero - 1 ? 0 : indirect(n + 1) + sink;
}

// Recursion through a table.
static void recursion_indirect(void) {
	indirect = deep_indirect;
	sink = deep_indirect(0);
}

void fill(void); // in fill.c

// One branch instruction with many targets, for ever.
static void table(void) {
	for (uint32_t i = 1;; i = i * 1664525 + 1013904223) {
		switch (i >> 28) {
		case 0: sink += 3; break;
		case 1: sink *= 5; break;
		case 2: sink ^= 7; break;
		case 3: sink -= 11; break;
		case 4: sink |= 13; break;
		case 5: sink &= 17; break;
		case 6: sink <<= 1; break;
		case 7: sink >>= 1; break;
		default: sink = i;
		}
	}
}

static void unreachable(void) { __builtin_trap(); }
static void abort_(void) { abort(); }
static void divide(void) { sink = sink / zero; }
static void overflow(void) { sink = (uint32_t)(INT32_MIN / (int32_t)(zero - 1)); }
static void out_of_bounds(void) { *(volatile uint32_t *)(uintptr_t)(zero - 16) = 1; }
static void null_call(void) { ((void (*)(void))(uintptr_t)zero)(); }
static void wild_call(void) { ((void (*)(void))(uintptr_t)(zero + 100000))(); }
static void wrong_call(void) { sink = ((uint32_t(*)(double, double))(uintptr_t)(zero + 1))(1, 2); }
static void convert(void) {
	volatile double huge = 1e300;
	__asm__ volatile("local.get %1\n\ti32.trunc_f64_s\n\tlocal.set %0" : "=r"(sink) : "r"(huge));
}

static void exit0(void) { exit(0); }
static void exit3(void) { exit(3); }
static void exit_large(void) { __wasi_proc_exit(0xFFFFFFFF); }
static void exit_twice(void) {
	atexit(exit3);
	exit(4);
}

// Takes all memory there is, page by page, and says how much that was.
static void memory(void) {
	uint32_t pages = 0;
	for (;;) {
		size_t before = __builtin_wasm_memory_grow(0, 1);
		if (before == SIZE_MAX) break;
		*(volatile char *)(before * 65536) = 1;
		pages++;
	}
	printf("%u\n", (unsigned)pages);
}

// Takes as much as there is in as few steps as there are, touching none of it.
static void memory_large(void) {
	for (size_t pages = 65535; pages > 0; pages /= 2) {
		while (__builtin_wasm_memory_grow(0, pages) != SIZE_MAX) sink++;
	}
	printf("%u\n", (unsigned)__builtin_wasm_memory_size(0));
}

static void memory_abort(void) {
	FOREVER {
		char *more = malloc(1 << 20);
		if (more == NULL) abort();
		memset(more, 1, 1 << 20);
		sink += (uint32_t)more[sink % (1 << 20)]; // or the compiler would leave it all out
	}
}

static bool put(int fd, const void *data, size_t size) {
	const char *at = data;
	while (size > 0) {
		ssize_t n = write(fd, at, size);
		if (n <= 0) return false;
		at += n;
		size -= (size_t)n;
	}
	return true;
}

static void say(const char *text) { put(1, text, strlen(text)); }

static char block[65536];

static void stdout_flood(void) {
	memset(block, 'x', sizeof block);
	FOREVER (void)!write(1, block, sizeof block);
}

static void stdout_drip(void) {
	FOREVER (void)!write(1, "x", 1);
}

static void stderr_flood(void) {
	memset(block, 'x', sizeof block);
	FOREVER (void)!write(2, block, sizeof block);
}

static void stderr_lines(void) {
	FOREVER (void)!write(2, "\n", 1);
}

// 16 MiB of stderr, then an answer.
static void stderr_answer(void) {
	memset(block, 'x', sizeof block);
	for (int i = 0; i < 256; i++) put(2, block, sizeof block);
	say("{\"status\":200}");
}

static void stderr_binary(void) {
	for (int i = 0; i < 256; i++) block[i] = (char)i;
	put(2, block, 256);
	say("{\"status\":200}");
}

static void read_forever(void) {
	FOREVER sink += (uint32_t)read(0, block, sizeof block);
}

static void never_read(void) { say("{\"status\":200,\"body\":\"unread\"}"); }

static void read_some(void) {
	sink = (uint32_t)read(0, block, 1);
	say("{\"status\":200,\"body\":\"read one\"}");
}

static void close_stdin(void) {
	close(0);
	say("{\"status\":200,\"body\":\"closed\"}");
}

static void close_stdout(void) { close(1); }

static void close_all(void) {
	for (int fd = 0; fd < 100; fd++) close(fd);
}

static void silent(void) {}
static void blank(void) { say(" \t\r\n"); }
static void garbage(void) { put(1, "\xff\xfe\0garbage{]", 12); }
static void two(void) { say("{\"status\":200}{\"status\":201}"); }
static void half(void) { say("{\"status\":200,\"body\":\"cut of"); }
static void answer_then_trap(void) {
	say("{\"status\":200}");
	__builtin_trap();
}
static void answer_then_exit3(void) {
	say("{\"status\":200}");
	exit(3);
}
static void answer_then_loop(void) {
	say("{\"status\":200}");
	loop();
}

static void echo(void) {
	for (;;) {
		ssize_t n = read(0, block, sizeof block);
		if (n <= 0) return;
		if (!put(1, block, (size_t)n)) exit(1);
	}
}

static void sleep_hour(void) { sleep(3600); }

static void sleep_ages(void) {
	__wasi_subscription_t in = {.u = {.tag = __WASI_EVENTTYPE_CLOCK}};
	in.u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
	in.u.u.clock.timeout = UINT64_MAX;
	__wasi_event_t out;
	__wasi_size_t n;
	FOREVER sink += __wasi_poll_oneoff(&in, &out, 1, &n);
}

// Never waits long, but never stops.
static void sleep_short(void) {
	FOREVER usleep(1);
}

static void poll_stdin(void) {
	__wasi_subscription_t in[2] = {{.u = {.tag = __WASI_EVENTTYPE_FD_READ}}, {.u = {.tag = __WASI_EVENTTYPE_CLOCK}}};
	in[1].u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
	in[1].u.u.clock.timeout = 3600000000000;
	__wasi_event_t out[2];
	__wasi_size_t n;
	FOREVER {
		sink += __wasi_poll_oneoff(in, out, 2, &n);
		while (read(0, block, sizeof block) > 0) sink++;
	}
}

// More subscriptions than anybody needs.
static void poll_many(void) {
	enum { many = 1 << 18 };
	__wasi_subscription_t *in = calloc(many, sizeof *in);
	__wasi_event_t *out = calloc(many, sizeof *out);
	if (in == NULL || out == NULL) exit(9);
	for (size_t i = 0; i < many; i++) {
		in[i].u.tag = __WASI_EVENTTYPE_CLOCK;
		in[i].u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
		in[i].u.u.clock.timeout = 3600000000000;
	}
	__wasi_size_t n;
	FOREVER sink += __wasi_poll_oneoff(in, out, many, &n);
}

static void yield(void) {
	FOREVER sink += __wasi_sched_yield();
}

static void clocks(void) {
	__wasi_timestamp_t t;
	FOREVER sink += __wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 1, &t);
}

static void random_flood(void) {
	size_t size = 32 << 20;
	uint8_t *bytes = malloc(size);
	if (bytes == NULL) exit(9);
	FOREVER sink += __wasi_random_get(bytes, size);
}

static void arguments(void) {
	__wasi_size_t count, size;
	FOREVER sink += __wasi_args_sizes_get(&count, &size);
}

// Opens a file, /dev/null without a second argument, until that fails.
static const char *path = "/dev/null";

static void files(void) {
	int n = 0;
	while (n < 100000 && open(path, O_RDONLY) >= 0) n++;
	printf("%d %d\n", n, errno);
}

static void files_forever(void) {
	FOREVER {
		int fd = open(path, O_RDONLY);
		if (fd >= 0) close(fd);
	}
}

static void passwd(void) {
	int fd = open("/etc/passwd", O_RDONLY);
	if (fd < 0) {
		printf("errno %d\n", errno);
		return;
	}
	ssize_t n = read(fd, block, sizeof block);
	put(1, block, n > 0 ? (size_t)n : 0);
}

// Writes to a new file in the folder /data until that fails.
static void disk(void) {
	int fd = open("/data/disk", O_WRONLY | O_CREAT, 0666);
	if (fd < 0) exit(9);
	memset(block, 'x', sizeof block);
	uint64_t n = 0;
	for (ssize_t got; (got = write(fd, block, sizeof block)) > 0;) n += (uint64_t)got;
	printf("%llu %d\n", (unsigned long long)n, errno);
}

// One write of 1 GiB: an I/O vector that names the same 64 KiB again and again.
static void large_write(void) {
	static __wasi_ciovec_t many[16384];
	for (size_t i = 0; i < 16384; i++) many[i] = (__wasi_ciovec_t){(const uint8_t *)block, sizeof block};
	__wasi_size_t n;
	FOREVER sink += __wasi_fd_write(2, many, 16384, &n);
}

static void folders(void) {
	char name[4096] = "/data";
	size_t len = strlen(name);
	int n = 0;
	while (len + 3 < sizeof name) {
		strcpy(name + len, "/d");
		len += 2;
		extern int mkdir(const char *, unsigned);
		if (mkdir(name, 0777) != 0) break;
		n++;
	}
	printf("%d %d\n", n, errno);
}

static const struct {
	const char *name;
	void (*run)(void);
} ways[] = {
	{"loop", loop},
	{"empty-loop", empty_loop},
	{"fib60", fib60},
	{"recursion", recursion},
	{"recursion-frames", recursion_frames},
	{"recursion-indirect", recursion_indirect},
	{"fill", fill},
	{"table", table},
	{"unreachable", unreachable},
	{"abort", abort_},
	{"divide", divide},
	{"overflow", overflow},
	{"out-of-bounds", out_of_bounds},
	{"null-call", null_call},
	{"wild-call", wild_call},
	{"wrong-call", wrong_call},
	{"convert", convert},
	{"exit0", exit0},
	{"exit3", exit3},
	{"exit-large", exit_large},
	{"exit-twice", exit_twice},
	{"memory", memory},
	{"memory-large", memory_large},
	{"memory-abort", memory_abort},
	{"stdout-flood", stdout_flood},
	{"stdout-drip", stdout_drip},
	{"stderr-flood", stderr_flood},
	{"stderr-lines", stderr_lines},
	{"stderr-answer", stderr_answer},
	{"stderr-binary", stderr_binary},
	{"read-forever", read_forever},
	{"never-read", never_read},
	{"read-some", read_some},
	{"close-stdin", close_stdin},
	{"close-stdout", close_stdout},
	{"close-all", close_all},
	{"silent", silent},
	{"blank", blank},
	{"garbage", garbage},
	{"two", two},
	{"half", half},
	{"answer-then-trap", answer_then_trap},
	{"answer-then-exit3", answer_then_exit3},
	{"answer-then-loop", answer_then_loop},
	{"echo", echo},
	{"sleep-hour", sleep_hour},
	{"sleep-ages", sleep_ages},
	{"sleep-short", sleep_short},
	{"poll-stdin", poll_stdin},
	{"poll-many", poll_many},
	{"yield", yield},
	{"clocks", clocks},
	{"random-flood", random_flood},
	{"arguments", arguments},
	{"files", files},
	{"files-forever", files_forever},
	{"passwd", passwd},
	{"disk", disk},
	{"large-write", large_write},
	{"folders", folders},
};

int main(int argc, char **argv) {
	const char *name = argc > 1 ? argv[1] : "";
	if (strcmp(name, "list") == 0) {
		puts("print");
		for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) puts(ways[i].name);
		return 0;
	}
	if (argc > 2) path = argv[2];
	if (strcmp(name, "print") == 0) { // whatever the test likes to see as a response
		say(path);
		return 0;
	}
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		if (strcmp(name, ways[i].name) != 0) continue;
		ways[i].run();
		return 0;
	}
	fprintf(stderr, "no way is called \"%s\"\n", name);
	return 99;
}
