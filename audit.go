package gojinn

import (
	"go.uber.org/zap"

	"github.com/gojinn/gojinn/capability/audit"
	"github.com/gojinn/gojinn/engine"
)

// record makes the function's record of what it is refused, if there is to be one.
func (f *function) record() *audit.Record {
	if !f.options.Grants.Watched() {
		return nil
	}
	return &audit.Record{
		New: func(r engine.Refusal) {
			f.logger.Info("refused", zap.String("function", f.name),
				zap.String("kind", printable(r.Kind)), zap.String("what", printable(r.What)), zap.String("how", printable(r.How)))
		},
		Full: func() {
			f.logger.Warn("more is refused than is recorded", zap.String("function", f.name), zap.Int("recorded", audit.MaxRefusals))
		},
	}
}

// refusalInfo is what the admin API tells of something that a function was refused.
type refusalInfo struct {
	Kind string `json:"kind"`
	What string `json:"what"`
	How  string `json:"how,omitempty"`
}

// addRefusals adds what the function was refused.
func (i *functionInfo) addRefusals(r *audit.Record) {
	if r == nil {
		return
	}
	i.Refused = []refusalInfo{}
	var all []engine.Refusal
	all, i.RefusedMore = r.Refusals()
	for _, one := range all {
		i.Refused = append(i.Refused, refusalInfo{printable(one.Kind), printable(one.What), printable(one.How)})
	}
}
