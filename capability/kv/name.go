package kv

import (
	"hash/maphash"

	"github.com/gojinn/gojinn/engine/vfs"
)

// operations is the name of the device in the directory. A key of this name is
// spelt %2Edo.
const operations = ".do"

const upperHex = "0123456789ABCDEF"

// nameOf is the file name that stands for a key: RFC 3986's unreserved characters stand for
// themselves, everything else is %XX, and so is the first byte of names that mean something
// else. It may be longer than a name can be.
func nameOf(key string) string {
	name := make([]byte, 0, len(key))
	switch {
	case key == "..":
		return "%2E%2E"
	case key == ".", key == operations:
		name, key = append(name, "%2E"...), key[1:]
	}
	for _, c := range []byte(key) {
		if unreserved(c) {
			name = append(name, c)
		} else {
			name = append(name, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(name)
}

// unreserved are the characters that RFC 3986, section 2.3, calls so.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// keyOf is the key that a file name stands for, EINVAL if the name is not the one spelling
// of a key.
func keyOf(name string) (string, error) {
	if len(name) > vfs.MaxName {
		return "", vfs.ENAMETOOLONG
	}
	key := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '%' {
			if i+2 >= len(name) {
				return "", vfs.EINVAL
			}
			high, okHigh := hexDigit(name[i+1])
			low, okLow := hexDigit(name[i+2])
			if !okHigh || !okLow {
				return "", vfs.EINVAL
			}
			c, i = high<<4|low, i+2
		}
		key = append(key, c)
	}
	if len(key) == 0 || nameOf(string(key)) != name {
		return "", vfs.EINVAL
	}
	return string(key), nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// seed makes numbers of files differ from server to server, so that nobody can look for two keys
// with the same one.
var seed = maphash.MakeSeed()

// number is what a name has as the number of a file or device: never 0.
func number(name string) uint64 { return maphash.String(seed, name) | 1 }
