package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A start is what `gojinn function bench` tells of a program.
type start struct {
	program *program
	module  float64 // bytes
	kind    string
	why     string
	image   string
	answer  string
	rows    map[string]startRow // by the settings' names
}

// startRow is a row of its table, as it is printed.
type startRow map[string]string

// measureStarts runs the command for every program.
func measureStarts(ctx context.Context, s *site, calls int) (starts []*start, err error) {
	config := filepath.Join(s.dir, "languages.caddyfile")
	for _, p := range s.programs {
		progress("starts of %s, %s", p.language, p.what)
		request := filepath.Join(s.dir, p.name+".json")
		text, err := json.Marshal(p.asks[0].request())
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(request, text, 0o600); err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, s.binary, "function", "bench", p.module(), request,
			"--config", config, "--function", p.name, "--calls", fmt.Sprint(calls))
		cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
		var out, log strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &log
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s%s", p.name, err, out.String(), log.String())
		}
		found, err := parseStart(out.String())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		info, err := os.Stat(p.module())
		if err != nil {
			return nil, err
		}
		found.program, found.module = p, float64(info.Size())
		starts = append(starts, found)
	}
	return starts, nil
}

// request is the contract's request object.
func (a ask) request() map[string]any {
	path, query, _ := strings.Cut(a.path, "?")
	values := map[string][]string{}
	if name, value, ok := strings.Cut(query, "="); ok {
		values[name] = []string{value}
	}
	return map[string]any{
		"id": "00000000-0000-4000-8000-000000000000", "method": "POST", "uri": a.path, "original_uri": a.path, "scheme": "http", "host": "localhost",
		"proto": "HTTP/1.1", "path": path, "query": values, "remote_addr": "127.0.0.1",
		"headers": map[string][]string{"Content-Type": {"application/json"}, "Content-Length": {fmt.Sprint(len(contactBody))}},
		"body":    contactBody,
	}
}

// gap is what is between the columns.
var gap = regexp.MustCompile(`\s{2,}`)

// parseStart reads what the command prints: lines of a name and a text, an empty line, and a table.
func parseStart(text string) (*start, error) {
	s := &start{rows: make(map[string]startRow)}
	var columns []string
	for line := range strings.Lines(text) {
		fields := gap.Split(strings.TrimRight(line, " \n"), -1)
		switch {
		case len(fields) > 3 && fields[0] == "" && fields[1] == "start":
			columns = fields
		case columns != nil && len(fields) == len(columns):
			row := make(startRow)
			for i, column := range columns[1:] {
				row[column] = fields[i+1]
			}
			s.rows[fields[0]] = row
		case len(fields) == 2 && columns == nil:
			switch fields[0] {
			case "start":
				s.kind, s.why, _ = strings.Cut(fields[1], ": ")
			case "image":
				s.image, _, _ = strings.Cut(fields[1], ",")
			case "answer":
				s.answer = fields[1]
			}
		}
	}
	if s.kind == "" || s.image == "" || s.rows["as configured"] == nil || s.rows["idle 0"] == nil {
		return nil, fmt.Errorf("%w in what function bench prints: %q", errNoTable, text)
	}
	if s.answer != "status 200" && s.answer != "status 201" {
		return nil, fmt.Errorf("the answer was %s", s.answer)
	}
	return s, nil
}
