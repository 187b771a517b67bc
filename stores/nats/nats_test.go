package nats

import (
	"testing"

	"github.com/gojinn/gojinn/stores"
	"github.com/gojinn/gojinn/stores/storetest"
)

func TestStore(t *testing.T) {
	s := start(t, jetStream(t.TempDir()))
	storetest.Run(t, func(t *testing.T) stores.Store { return openAt(t, s) })
}
