// Json decodes and encodes one document over and over: work that a Go function
// does all day, long enough that nothing else of a call counts.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
)

const rounds = 100

type order struct {
	ID       int               `json:"id"`
	Customer string            `json:"customer"`
	Paid     bool              `json:"paid"`
	Total    float64           `json:"total"`
	Lines    []line            `json:"lines"`
	Notes    map[string]string `json:"notes"`
}

type line struct {
	Article string  `json:"article"`
	Count   int     `json:"count"`
	Price   float64 `json:"price"`
}

func main() {
	text, err := json.Marshal(document())
	check(err)
	for range rounds {
		var orders []order
		check(json.Unmarshal(text, &orders))
		again, err := json.Marshal(orders)
		check(err)
		if !bytes.Equal(again, text) {
			check(fmt.Errorf("got %s, want %s", again, text))
		}
	}
	fmt.Printf(`{"body":"%d bytes, %d times"}`, len(text), rounds)
}

func document() (orders []order) {
	for i := range 10 {
		o := order{ID: i, Customer: fmt.Sprintf("Customer \"%d\"", i), Paid: i%2 == 0, Total: float64(i) * 19.99, Notes: map[string]string{"a": "b"}}
		for j := range 5 {
			o.Lines = append(o.Lines, line{fmt.Sprintf("Article %d\n", j), j, float64(j) * 1.5})
		}
		orders = append(orders, o)
	}
	return orders
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
