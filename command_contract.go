package gojinn

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/gojinn/gojinn/contract"
)

// inputOf is what the function reads for a request, which is an object of the json contract.
func (h *Handler) inputOf(request []byte) ([]byte, error) {
	switch h.served.contract {
	case contractJSON:
		return request, nil
	case contractStream:
		return streamInput(request)
	}
	return nil, fmt.Errorf("a function with contract %s can't be called without a server", h.served.contract)
}

// streamInput makes of an object of the json contract what the contract stream has: a line without the body,
// and the body.
func streamInput(request []byte) ([]byte, error) {
	var body struct {
		Body       string `json:"body"`
		BodyBase64 []byte `json:"body_base64"`
	}
	if err := json.Unmarshal(request, &body); err != nil {
		return nil, fmt.Errorf("the request's body: %w", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(request, &members); err != nil {
		return nil, err
	}
	delete(members, "body")
	delete(members, "body_base64")
	head, err := json.Marshal(members) // one line
	if err != nil {
		return nil, err
	}
	return append(append(append(head, '\n'), body.Body...), body.BodyBase64...), nil
}

// responseOf reads what the function wrote. With the contract stream that is the head only: the body
// can be anything.
func (h *Handler) responseOf(out []byte) (*contract.Response, error) {
	if h.served.contract == contractStream {
		head, _, _ := bytes.Cut(out, []byte("\n"))
		return contract.DecodeHead(head)
	}
	return contract.DecodeResponse(out)
}
