// Command json is a guest for tests and benchmarks: it encodes, decodes and sorts a list as often as its argument says,
// and prints what came out.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"sort"
	"strconv"
	"strings"
)

type item struct {
	ID    int               `json:"id"`
	Name  string            `json:"name"`
	Tags  []string          `json:"tags"`
	Attrs map[string]string `json:"attrs"`
	Price float64           `json:"price"`
}

func main() {
	rounds, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	var items []item
	for i := range 40 {
		items = append(items, item{i, fmt.Sprintf("item %d \"quoted\" é", i), []string{"a", "b"}, map[string]string{"x": fmt.Sprint(i)}, float64(i) * 1.25})
	}
	sum := fnv.New64()
	for range rounds {
		text, err := json.Marshal(items)
		if err != nil {
			panic(err)
		}
		var back []item
		if err := json.Unmarshal(text, &back); err != nil {
			panic(err)
		}
		sort.Slice(back, func(i, j int) bool { return strings.ToUpper(back[i].Name) < strings.ToUpper(back[j].Name) })
		var indented bytes.Buffer
		if err := json.Indent(&indented, text, "", " "); err != nil {
			panic(err)
		}
		sum.Write(indented.Bytes())
		fmt.Fprint(sum, back)
	}
	fmt.Printf("%x\n", sum.Sum64())
	defer func() { fmt.Println(recover()) }()
	fmt.Println(items[len(os.Args)+100])
}
