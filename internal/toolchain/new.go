package toolchain

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:embed all:templates
var templates embed.FS

// nameOf is what templates have where the function's name belongs.
const nameOf = "{{name}}"

// validName is what every language takes as the name of a program, and every file
// system and URL as a name. Underscores would make the function's file private.
var validName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

// moduleName is what the templates' functions import: one of that name could not.
const moduleName = "gojinn"

// New starts a function from the template of a language in dir, which must not
// exist yet or be empty. When it fails it leaves nothing of its own behind.
func New(name, language, dir string) (err error) {
	if !validName.MatchString(name) {
		return fmt.Errorf("%q cannot name a function: want a letter, then at most 63 letters, digits, hyphens and underscores", name)
	}
	if name == moduleName {
		return fmt.Errorf("%q cannot name a function: it is the name of the module that functions use", name)
	}
	if !slices.Contains(Languages(), Language(language)) {
		return fmt.Errorf("no template for the language %q: have %s", language, join(Languages()))
	}
	made, err := makeEmpty(dir)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			for _, path := range slices.Backward(made) {
				os.Remove(path)
			}
			err = fmt.Errorf("starting a function in %s: %w", dir, err)
		}
	}()
	root := path.Join("templates", language)
	return fs.WalkDir(templates, root, func(file string, e fs.DirEntry, err error) error {
		if err != nil || file == root {
			return err
		}
		relative := strings.TrimPrefix(file, root+"/")
		to := filepath.Join(dir, filepath.FromSlash(strings.TrimSuffix(relative, ".tmpl")))
		if e.IsDir() {
			err = os.Mkdir(to, 0o777)
		} else {
			err = writeTemplate(file, to, name)
		}
		if err == nil {
			made = append(made, to)
		}
		return err
	})
}

// makeEmpty makes dir unless it is there and empty. It returns what it made.
func makeEmpty(dir string) (made []string, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case err == nil && len(entries) > 0:
		return nil, fmt.Errorf("%s is not empty", dir)
	case err == nil:
		return nil, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if err := os.Mkdir(dir, 0o777); err != nil {
		return nil, err
	}
	return []string{dir}, nil
}

func writeTemplate(from, to, name string) error {
	text, err := templates.ReadFile(from)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = file.WriteString(strings.ReplaceAll(string(text), nameOf, name))
	if err := errors.Join(err, file.Close()); err != nil {
		os.Remove(to)
		return err
	}
	return nil
}
