// The contract between server and function: the request is one JSON object on
// stdin, the response is one on stdout.
#ifndef CONTRACT_H
#define CONTRACT_H

#include "json.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct {
	buffer name, value;
} pair;

typedef struct {
	pair *list;
	size_t len;
} pairs;

typedef struct {
	buffer id, method, path;
	buffer body;    // any bytes
	pairs query;    // decoded parameters of the URL
	pairs headers;  // names in canonical form: Content-Type
} request;

// Reads the request. What the contract does not allow ends the program.
request read_request(void);

// Returns the first value of that name, NULL without one.
const buffer *first_value(const pairs *p, const char *name);

typedef struct {
	const char *name, *value;
} header;

// Writes the response; {0} ends headers, body is UTF-8. Returns the program's exit code.
int respond(int status, const header *headers, const buffer *body);

// Writes a line to the server's log.
void log_error(const char *message);

bool write_all(int fd, const void *data, size_t len);

#endif
