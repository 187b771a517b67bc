package outbound

import (
	"net/http"

	gojinn "github.com/gojinn/gojinn/guest/go"
)

func init() { http.DefaultTransport = gojinn.Transport{} }
