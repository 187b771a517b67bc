package engine

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// instantiateHost adds everything that guests can import: WASI preview 1, and
// the private functions that rewritten modules call.
func instantiateHost(ctx context.Context, r wazero.Runtime) error {
	private := r.NewHostModuleBuilder(rewrite.HostModule)
	for name, f := range map[string]func(*Sandbox){
		rewrite.TickImport:  (*Sandbox).tick,
		rewrite.StackImport: func(s *Sandbox) { s.finish(ErrStack) },
		rewrite.ExitImport:  (*Sandbox).returned,
	} {
		private.NewFunctionBuilder().
			WithGoFunction(api.GoFunc(func(ctx context.Context, _ []uint64) { sandboxFrom(ctx).serve(f) }), nil, nil).
			Export(name)
	}
	if _, err := private.Instantiate(ctx); err != nil {
		return fmt.Errorf("module %s: %w", rewrite.HostModule, err)
	}
	public := r.NewHostModuleBuilder(preview1Module)
	for name, f := range preview1 {
		public.NewFunctionBuilder().WithGoModuleFunction(f, f.params, f.results).Export(name)
	}
	if _, err := public.Instantiate(ctx); err != nil {
		return fmt.Errorf("module %s: %w", preview1Module, err)
	}
	return nil
}
