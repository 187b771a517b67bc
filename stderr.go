package gojinn

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Bounds on the log entries of one call. They keep a hostile guest from
// turning a few bytes of stderr into many of log.
const (
	maxLine       = 16 << 10 // bytes of a line that are kept
	maxLines      = 1000     // entries for lines
	maxFields     = 64       // of a JSON line
	maxFieldName  = 128      // bytes
	maxFieldValue = 4 << 10  // bytes, as JSON
)

// stderrLog turns what a guest writes to its standard error into log entries,
// one a line. A line that is a JSON object with a level and a msg keeps its
// level and its fields. It is used by one call; finish ends it.
type stderrLog struct {
	logger *zap.Logger
	fields []zap.Field // of every entry: the function's name and the request's id
	keep   int64       // bytes that are kept
	seen   int64       // bytes that came, but no more than keep
	line   []byte      // the begin of a line whose end has not come yet
	cut    bool        // the line is longer than that
	lines  int
	over   bool // something was dropped
}

// Write never fails: a guest that talks too much is not to be stopped by it.
func (l *stderrLog) Write(p []byte) (int, error) {
	written := len(p)
	if room := l.keep - l.seen; int64(len(p)) > room {
		p, l.over = p[:room], true
	}
	l.seen += int64(len(p))
	for len(p) > 0 {
		line, rest, ended := bytes.Cut(p, []byte{'\n'})
		if room := maxLine - len(l.line); len(line) > room {
			line, l.cut = line[:room], true
		}
		l.line = append(l.line, line...)
		if ended {
			l.endLine()
		}
		p = rest
	}
	return written, nil
}

// finish logs what is left of a last line without an end, and says once if
// something was dropped.
func (l *stderrLog) finish() {
	l.endLine()
	if l.over && l.keep > 0 {
		l.log(zapcore.WarnLevel, "the rest of the function's standard error is dropped", zap.Bool("truncated", true))
	}
}

func (l *stderrLog) endLine() {
	line, cut := bytes.TrimSuffix(l.line, []byte{'\r'}), l.cut
	l.line, l.cut = l.line[:0], false
	if len(line) == 0 {
		return
	}
	if l.lines++; l.lines > maxLines {
		l.over = true
		return
	}
	level, message, fields := parseLine(line)
	if cut {
		fields = append(fields, zap.Bool("truncated", true))
	}
	l.log(level, message, fields...)
}

func (l *stderrLog) log(level zapcore.Level, message string, fields ...zap.Field) {
	if entry := l.logger.Check(level, message); entry != nil {
		entry.Write(append(slices.Clone(l.fields), fields...)...)
	}
}

// parseLine reads a line of a guest's log. Any line is good.
func parseLine(line []byte) (zapcore.Level, string, []zap.Field) {
	if line[0] == '{' {
		if level, message, fields, ok := parseJSONLine(line); ok {
			return level, message, fields
		}
	}
	return zapcore.InfoLevel, printable(string(line)), nil
}

func parseJSONLine(line []byte) (level zapcore.Level, message string, fields []zap.Field, ok bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(line, &members) != nil {
		return 0, "", nil, false
	}
	level, ok = parseLevel(members["level"])
	if !ok || !isString(members["msg"]) || json.Unmarshal(members["msg"], &message) != nil {
		return 0, "", nil, false
	}
	delete(members, "level")
	delete(members, "msg")
	return level, printable(message), lineFields(members), true
}

// parseLevel knows the levels of zap, slog and most others. Those that would
// end the process if they were zap's are errors.
func parseLevel(raw json.RawMessage) (zapcore.Level, bool) {
	var name string
	if json.Unmarshal(raw, &name) != nil {
		return 0, false
	}
	switch strings.ToLower(name) {
	case "trace", "debug":
		return zapcore.DebugLevel, true
	case "info", "notice":
		return zapcore.InfoLevel, true
	case "warn", "warning":
		return zapcore.WarnLevel, true
	case "error", "err", "critical", "dpanic", "panic", "fatal":
		return zapcore.ErrorLevel, true
	}
	return 0, false
}

// lineFields makes log fields of a JSON line's other members, in the order of
// their names.
func lineFields(members map[string]json.RawMessage) []zap.Field {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	var fields []zap.Field
	for i, name := range names {
		if i == maxFields {
			return append(fields, zap.Bool("truncated", true))
		}
		fields = append(fields, lineField(fieldName(name), members[name]))
	}
	return fields
}

func lineField(name string, value json.RawMessage) zap.Field {
	var text string
	switch {
	case len(value) > maxFieldValue:
		return zap.String(name, printable(string(value[:maxFieldValue]))+"…")
	case isString(value) && json.Unmarshal(value, &text) == nil:
		return zap.String(name, printable(text))
	}
	return zap.Reflect(name, json.RawMessage(bytes.ToValidUTF8(value, []byte("\uFFFD"))))
}

func isString(value json.RawMessage) bool { return len(value) > 0 && value[0] == '"' }

// fieldName keeps a guest from forging what the host says: the fields that
// every entry has.
func fieldName(name string) string {
	if len(name) > maxFieldName {
		name = name[:maxFieldName] + "…"
	}
	name = printable(name)
	switch strings.ToLower(name) {
	case "function", "request_id", "level", "msg", "ts", "logger", "caller", "stacktrace", "truncated":
		return "guest_" + name
	}
	return name
}

// printable is text with what is not UTF-8 replaced, and with control
// characters, which could play with the operator's terminal, spelt out.
func printable(text string) string {
	if strings.IndexFunc(text, needsSpelling) < 0 && utf8.ValidString(text) {
		return text
	}
	var s strings.Builder
	for _, r := range text {
		if needsSpelling(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			s.WriteString(quoted[1 : len(quoted)-1])
		} else {
			s.WriteRune(r) // what is not UTF-8 has become U+FFFD
		}
	}
	return s.String()
}

// needsSpelling tells control characters, and those that turn the direction of
// text, from what a log can show.
func needsSpelling(r rune) bool {
	return r != '\t' && unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}
