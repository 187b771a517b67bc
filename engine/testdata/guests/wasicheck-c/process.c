// Arguments, environment, clocks, random numbers, waiting.
#include "check.h"

#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wasi/libc-environ.h>

void check_args(int argc, char **argv) {
	static const char *const want[] = {"args", "a b", "", "\xc3\xbc\xe2\x82\xac", "--x=y", "\"'\\", "last"};
	EQUAL(argc, 1 + sizeof want / sizeof *want);
	TRUE(argv[0] != NULL && argv[0][0] != 0);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], want[i - 1]) != 0) differs("argument %d: got \"%s\", want \"%s\"", i, argv[i], want[i - 1]);
	}
	TRUE(argv[argc] == NULL);
}

void check_env(void) {
	static const char *const want[][2] = {{"GREETING", "hello world"}, {"EMPTY", ""}, {"EQUALS", "a=b=c"}, {"UNICODE", "\xc3\xbc\xe2\x82\xac"}};
	__wasi_size_t count, size;
	RAW(__wasi_environ_sizes_get(&count, &size), 0);
	EQUAL(count, sizeof want / sizeof *want); // nothing of the host's environment
	for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
		const char *got = getenv(want[i][0]);
		if (got == NULL || strcmp(got, want[i][1]) != 0) differs("%s: got \"%s\", want \"%s\"", want[i][0], got ? got : "(nothing)", want[i][1]);
	}
	TRUE(getenv("PATH") == NULL);
	TRUE(getenv("HOME") == NULL);
}

static __wasi_timestamp_t now(__wasi_clockid_t clock) {
	__wasi_timestamp_t t = 0;
	RAW(__wasi_clock_time_get(clock, 1, &t), 0);
	return t;
}

#define SECOND 1000000000ull

void check_clock(void) {
	__wasi_timestamp_t resolution = 0;
	RAW(__wasi_clock_res_get(__WASI_CLOCKID_REALTIME, &resolution), 0);
	TRUE(resolution > 0 && resolution <= SECOND);
	resolution = 0;
	RAW(__wasi_clock_res_get(__WASI_CLOCKID_MONOTONIC, &resolution), 0);
	TRUE(resolution > 0 && resolution <= SECOND);
	RAW(__wasi_clock_res_get((__wasi_clockid_t){99}, &resolution), EINVAL);
	__wasi_timestamp_t t;
	RAW(__wasi_clock_time_get((__wasi_clockid_t){99}, 1, &t), EINVAL);

	TRUE(now(__WASI_CLOCKID_REALTIME) > 1577836800 * SECOND); // 2020
	TRUE(now(__WASI_CLOCKID_REALTIME) < 4102444800 * SECOND); // 2100
	__wasi_timestamp_t last = now(__WASI_CLOCKID_MONOTONIC), first = last;
	for (int i = 0; i < 1000; i++) {
		t = now(__WASI_CLOCKID_MONOTONIC);
		TRUE(t >= last);
		last = t;
	}
	TRUE(last > first);
	TRUE(time(NULL) > 1577836800);
}

void check_sleep(void) {
	__wasi_timestamp_t before = now(__WASI_CLOCKID_MONOTONIC);
	OK(usleep(30000));
	__wasi_timestamp_t after = now(__WASI_CLOCKID_MONOTONIC);
	TRUE(after - before >= 30000000);
	TRUE(after - before < 30 * SECOND);

	struct timespec past = {.tv_sec = 1}, none = {0};
	EQUAL(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &past, NULL), 0);
	EQUAL(clock_nanosleep(CLOCK_MONOTONIC, 0, &none, NULL), 0);
	struct timespec soon;
	OK(clock_gettime(CLOCK_REALTIME, &soon));
	soon.tv_nsec += 30000000;
	if (soon.tv_nsec >= (long)SECOND) soon.tv_sec++, soon.tv_nsec -= SECOND;
	EQUAL(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &soon, NULL), 0);
	struct timespec woken;
	OK(clock_gettime(CLOCK_REALTIME, &woken));
	TRUE(woken.tv_sec > soon.tv_sec || (woken.tv_sec == soon.tv_sec && woken.tv_nsec >= soon.tv_nsec));
	OK(sched_yield());
}

void check_random(void) {
	unsigned char a[256] = {0}, b[256] = {0};
	OK(getentropy(a, sizeof a));
	OK(getentropy(b, sizeof b));
	TRUE(memcmp(a, b, sizeof a) != 0);
	RAW(__wasi_random_get(a, 0), 0);

	// 100,000 bytes: every value about 390 times.
	static unsigned char many[100000];
	RAW(__wasi_random_get(many, sizeof many), 0);
	int count[256] = {0};
	for (size_t i = 0; i < sizeof many; i++) count[many[i]]++;
	for (int i = 0; i < 256; i++) {
		if (count[i] < 200 || count[i] > 600) differs("value %d: %d times among 100,000", i, count[i]);
	}
}

static __wasi_subscription_t clock_subscription(__wasi_userdata_t userdata, __wasi_timestamp_t timeout) {
	__wasi_subscription_t s = {.userdata = userdata};
	s.u.tag = __WASI_EVENTTYPE_CLOCK;
	s.u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
	s.u.u.clock.timeout = timeout;
	return s;
}

static __wasi_subscription_t file_subscription(__wasi_userdata_t userdata, __wasi_eventtype_t type, __wasi_fd_t fd) {
	__wasi_subscription_t s = {.userdata = userdata};
	s.u.tag = type;
	s.u.u.fd_read.file_descriptor = fd;
	return s;
}

// Needs something on stdin, or its end.
void check_poll(void) {
	__wasi_event_t events[4];
	__wasi_size_t n = 99;
	__wasi_subscription_t none;
	RAW(__wasi_poll_oneoff(&none, events, 0, &n), EINVAL);

	// A clock alone.
	__wasi_subscription_t in[4] = {clock_subscription(7, 20000000)};
	__wasi_timestamp_t before = now(__WASI_CLOCKID_MONOTONIC);
	RAW(__wasi_poll_oneoff(in, events, 1, &n), 0);
	TRUE(now(__WASI_CLOCKID_MONOTONIC) - before >= 20000000);
	EQUAL(n, 1);
	EQUAL(events[0].userdata, 7);
	EQUAL(events[0].error, 0);
	EQUAL(events[0].type, __WASI_EVENTTYPE_CLOCK);

	// The first of two clocks.
	in[0] = clock_subscription(1, 3600 * SECOND);
	in[1] = clock_subscription(2, 20000000);
	RAW(__wasi_poll_oneoff(in, events, 2, &n), 0);
	EQUAL(n, 1);
	EQUAL(events[0].userdata, 2);

	// What is ready wins over a clock that is not, and is told once.
	in[0] = clock_subscription(1, 3600 * SECOND);
	in[1] = file_subscription(2, __WASI_EVENTTYPE_FD_WRITE, 1);
	in[2] = file_subscription(3, __WASI_EVENTTYPE_FD_READ, 0);
	RAW(__wasi_poll_oneoff(in, events, 3, &n), 0);
	TRUE(n == 1 || n == 2);
	for (__wasi_size_t i = 0; i < n; i++) {
		TRUE(events[i].userdata == 2 || events[i].userdata == 3);
		EQUAL(events[i].error, 0);
		EQUAL(events[i].type, events[i].userdata == 2 ? __WASI_EVENTTYPE_FD_WRITE : __WASI_EVENTTYPE_FD_READ);
	}
	in[1] = file_subscription(3, __WASI_EVENTTYPE_FD_READ, 0);
	RAW(__wasi_poll_oneoff(in, events, 2, &n), 0);
	EQUAL(n, 1);
	EQUAL(events[0].userdata, 3);

	// A descriptor that is not open is an event with an error, not a failed call.
	in[0] = file_subscription(4, __WASI_EVENTTYPE_FD_READ, 999);
	in[1] = clock_subscription(5, 3600 * SECOND);
	RAW(__wasi_poll_oneoff(in, events, 2, &n), 0);
	EQUAL(n, 1);
	EQUAL(events[0].userdata, 4);
	EQUAL(events[0].error, EBADF);

	// The C library's own way to it.
	struct pollfd fds = {.fd = 1, .events = POLLOUT};
	EQUAL(poll(&fds, 1, 1000), 1);
	TRUE(fds.revents & POLLOUT);
	EQUAL(poll(NULL, 0, 1), 0);
}
