// Command random-go shows how random a Go program is that was restored from an
// image: it draws numbers while it starts, reads standard input, where the image
// is taken, and then prints what it gets from every generator, a line for each.
//
// Its arguments say what to do before it reads: how many numbers to draw, and
// how many maps to make. With a third one it prints only what is never the same.
package main

import (
	cryptorand "crypto/rand"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	randv1 "math/rand"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
)

// What initialisers draw is the same in every copy of an image.
var (
	early = rand.Uint64()
	seed  = maphash.MakeSeed()
	table = map[int]int{}
)

func init() {
	for i := range 1000 {
		table[i] = i
	}
	http.HandleFunc("/", http.NotFound) // a server's packages, and their start-up code
}

func main() {
	var sum uint64
	for range number(1) {
		sum += rand.Uint64()
	}
	kept := make([]map[int]int, number(2))
	for i := range kept {
		kept[i] = maps.Clone(table)
		for key := range kept[i] {
			sum += uint64(key)
			break
		}
	}
	if _, err := io.ReadAll(os.Stdin); err != nil {
		panic(err)
	}

	fmt.Println("math/rand", randv1.Int63())
	fmt.Println("math/rand/v2", rand.Uint64())
	fmt.Println("shuffle", rand.Perm(20))
	fmt.Println("maphash", maphash.String(maphash.MakeSeed(), "text"))
	if len(os.Args) > 3 {
		fmt.Println("crypto/rand", cryptorand.Text())
		fmt.Println("number from start-up", early)
		return
	}
	fmt.Println("map from start-up", slices.Collect(maps.Keys(table)))
	fmt.Println("new map", slices.Collect(maps.Keys(maps.Clone(table))))
	fmt.Println("crypto/rand", cryptorand.Text())
	fmt.Println("select", order())
	fmt.Println("number from start-up", early)
	fmt.Println("maphash from start-up", maphash.String(seed, "text"))
	for i := range table { // the maps must still work
		for _, m := range append(kept, table) {
			if m[i] != i {
				fmt.Println("lost", i)
			}
		}
	}
	fmt.Fprintln(os.Stderr, sum)
}

func number(arg int) int {
	if arg >= len(os.Args) {
		return 0
	}
	n, err := strconv.Atoi(os.Args[arg])
	if err != nil {
		panic(err)
	}
	return n
}

// order is what select chooses when it has the choice.
func order() string {
	var chosen []byte
	a, b := make(chan byte, 64), make(chan byte, 64)
	for range cap(a) {
		a <- 'a'
		b <- 'b'
	}
	for range cap(a) {
		select {
		case c := <-a:
			chosen = append(chosen, c)
		case c := <-b:
			chosen = append(chosen, c)
		}
	}
	return string(chosen)
}
