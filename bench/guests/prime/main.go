// Prime answers with the n-th prime number. The request's body is n.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
)

type request struct {
	Body string `json:"body"`
}

type response struct {
	Body string `json:"body"`
}

func main() {
	var req request
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		panic(err)
	}
	n, err := strconv.ParseUint(req.Body, 10, 16)
	if err != nil || n == 0 {
		panic(fmt.Sprintf("%q is no number from 1 to 65535", req.Body))
	}
	if err := json.NewEncoder(os.Stdout).Encode(response{fmt.Sprint(nthPrime(uint32(n)))}); err != nil {
		panic(err)
	}
}

// nthPrime tries one number after the other, and every odd divisor of each: it
// is here to keep a processor busy. The same in all languages, in 32 bits.
func nthPrime(n uint32) uint32 {
	p := uint32(2)
	for candidate := uint32(3); n > 1; candidate += 2 {
		prime := true
		for d := uint32(3); d*d <= candidate; d += 2 {
			if candidate%d == 0 {
				prime = false
				break
			}
		}
		if prime {
			p = candidate
			n--
		}
	}
	return p
}
