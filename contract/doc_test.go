package contract

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

var fenced = regexp.MustCompile("(?s)```(json|go)\n(.*?)\n```")

// docExamples returns the fenced examples of one language in docs/contract.md.
func docExamples(t *testing.T, language string) (examples [][]byte) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "contract.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range fenced.FindAllSubmatch(text, -1) {
		if string(match[1]) == language {
			examples = append(examples, match[2])
		}
	}
	if len(examples) == 0 {
		t.Fatalf("docs/contract.md has no example in %s", language)
	}
	return examples
}

// The documented request is a vector, the documented responses are responses.
func TestDocumentedJSON(t *testing.T) {
	t.Parallel()
	examples := docExamples(t, "json")
	for _, v := range readVectors[requestVector](t, filepath.Join("testdata", "vectors", "requests", "basic.json")) {
		if v.Name == "every member" && v.Stdin != string(examples[0]) {
			t.Errorf("the documented request is\n%s\nwant\n%s", examples[0], v.Stdin)
		}
	}
	for _, example := range examples[1:] {
		if _, err := DecodeResponse(example); err != nil {
			t.Errorf("%s: %v", example, err)
		}
	}
}

// The documented function greets. It is an ordinary program, so it is run as one.
func TestDocumentedFunction(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a program")
	}
	t.Parallel()
	source := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(source, docExamples(t, "go")[0], 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "go", "run", source)
	command.Stdin = bytes.NewReader(AppendRequest(nil, request("name=Zo%C3%AB", nil), Meta{}, nil))
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	response, err := DecodeResponse(out)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(response.Body), "Hello, Zoë!\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
