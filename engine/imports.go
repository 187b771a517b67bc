package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/gojinn/gojinn/engine/rewrite"
)

const (
	startFunction  = "_start"
	memoryExport   = "memory"
	preview1Module = "wasi_snapshot_preview1"
)

// checkModule refuses a module that could be compiled but not run: wazero
// would only notice when it is instantiated, or when it is entered.
func checkModule(r *rewrite.Report) error {
	if err := checkImports(r.Imports); err != nil {
		return err
	}
	return checkExports(r.Exports)
}

// maxComplaints bounds how many unknown imports one error names.
const maxComplaints = 5

func checkImports(imports []rewrite.Import) error {
	var complaints []string
	for _, i := range imports {
		complaint := complain(i)
		if complaint != "" && !slices.Contains(complaints, complaint) {
			complaints = append(complaints, complaint)
		}
	}
	if more := len(complaints) - maxComplaints; more > 0 {
		complaints = append(complaints[:maxComplaints], fmt.Sprintf("and %d more", more))
	}
	if len(complaints) > 0 {
		return &ModuleError{strings.Join(complaints, "; ")}
	}
	return nil
}

// complain says what is wrong with an import, or nothing.
func complain(i rewrite.Import) string {
	name := fmt.Sprintf("%q from %q", clip(i.Name), clip(i.Module))
	if i.Kind != "func" {
		return fmt.Sprintf("the module imports a %s, %s; a program brings its own", i.Kind, name)
	}
	f, known := preview1[i.Name]
	switch {
	case i.Module == preview1Module && !known:
		return fmt.Sprintf("the module imports %s, which WASI preview 1 doesn't have", name)
	case i.Module == preview1Module:
		if want := signature(f.params, f.results); i.Type != want {
			return fmt.Sprintf("the module imports %s as %s; it is %s", name, clip(i.Type), want)
		}
		return ""
	case i.Module == "wasi_unstable":
		return fmt.Sprintf("the module imports %s: it is built for the WASI of 2019; build it with a toolchain for wasi_snapshot_preview1", name)
	case strings.HasPrefix(i.Module, "wasi:"):
		return fmt.Sprintf("the module imports %s: it is built for WASI preview 2; build it for wasi_snapshot_preview1 (wasip1)", name)
	case i.Module == "gojs" || i.Module == "go":
		return fmt.Sprintf("the module imports %s: it is built for GOOS=js; build it with GOOS=wasip1", name)
	}
	return fmt.Sprintf("the module imports %s; only functions of %q can be imported", name, preview1Module)
}

func checkExports(exports []rewrite.Export) error {
	var memory, start *rewrite.Export
	reactor := false
	for i := range exports {
		switch e := &exports[i]; e.Name {
		case memoryExport:
			memory = e
		case startFunction:
			start = e
		case "_initialize":
			reactor = true
		}
	}
	switch {
	case start == nil && reactor:
		return &ModuleError{`the module exports "_initialize" and not "_start": it is a library (reactor); build it as a program (command)`}
	case start == nil:
		return &ModuleError{`the module exports no function "_start": it is not a WASI program`}
	case start.Kind != "func" || start.Type != signature(nil, nil):
		return &ModuleError{fmt.Sprintf(`the module's export "_start" is a %s of type %s; it must be a function without parameters and results`, start.Kind, clip(start.Type))}
	case memory == nil:
		return &ModuleError{`the module exports no memory under the name "memory"`}
	case memory.Kind != "memory":
		return &ModuleError{fmt.Sprintf(`the module's export "memory" is a %s`, memory.Kind)}
	}
	return nil
}

// signature writes a function type as package rewrite's report does.
func signature(params, results []api.ValueType) string {
	list := func(types []api.ValueType) string {
		names := make([]string, len(types))
		for i, t := range types {
			names[i] = api.ValueTypeName(t)
		}
		return "(" + strings.Join(names, ", ") + ")"
	}
	return list(params) + " -> " + list(results)
}

// clip bounds what an error repeats of a module.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
