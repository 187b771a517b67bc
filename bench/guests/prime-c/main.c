// Prime answers with the n-th prime number. The request's body is n, and the
// last member of the request object; a quotation mark inside a string is
// escaped, so the last place of the text searched for is where it begins.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Tries one number after the other, and every odd divisor of each: it is here
// to keep a processor busy. The same in all languages, in 32 bits.
static uint32_t nth_prime(uint32_t n) {
	uint32_t p = 2;
	for (uint32_t candidate = 3; n > 1; candidate += 2) {
		bool prime = true;
		for (uint32_t d = 3; d * d <= candidate; d += 2) {
			if (candidate % d == 0) {
				prime = false;
				break;
			}
		}
		if (prime) {
			p = candidate;
			n--;
		}
	}
	return p;
}

int main(void) {
	static const char member[] = ",\"body\":\"";
	static char text[64 * 1024];
	size_t len = 0;
	for (;;) {
		ssize_t n = read(0, text + len, sizeof text - len - 1);
		if (n < 0 || len + (size_t)n == sizeof text - 1) return 1;
		if (n == 0) break;
		len += (size_t)n;
	}
	text[len] = 0;
	char *body = NULL;
	for (char *next = text; (next = strstr(next, member)) != NULL; next++) body = next;
	if (body == NULL) return 1;
	long n = strtol(body + sizeof member - 1, NULL, 10);
	if (n < 1 || n > UINT16_MAX) return 1;
	printf("{\"body\":\"%u\"}", (unsigned)nth_prime((uint32_t)n));
	return fflush(stdout) == 0 ? 0 : 1;
}
