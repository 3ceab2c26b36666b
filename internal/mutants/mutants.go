// Package mutants makes mistakes in the product, one at a time, so that tests can show that they find them. Only tests
// import it.
//
//	m := mutants.One("a restart is ignored", "source.go", "return had > 0 &&", "return false && had > 0 &&")
//	output, passed := mutants.Run(t, m.Build(t), "TestModel", "MODEL_SEEDS=1000")
//
// The files of the product stay as they are: the go command gets the changed ones as an overlay.
package mutants

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Edit is a change of the text of a file. Old, which the file has once, becomes New. File is the path from the
// directory of the test.
type Edit struct{ File, Old, New string }

// Mutant is a mistake in the product.
type Mutant struct {
	Name  string
	Edits []Edit // none: the product as it is
}

// One returns a mutant with one edit.
func One(name, file, old, changed string) Mutant { return Of(name, Change(file, old, changed)) }

// Of returns a mutant with several edits.
func Of(name string, edits ...Edit) Mutant { return Mutant{name, edits} }

// Change returns an edit.
func Change(file, old, changed string) Edit { return Edit{file, old, changed} }

// Texts returns the changed files, by path. The test fails if an edit does not fit.
func (m Mutant) Texts(t testing.TB) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, e := range m.Edits {
		if _, read := texts[e.File]; !read {
			text, err := os.ReadFile(e.File)
			if err != nil {
				t.Fatal(err)
			}
			texts[e.File] = string(text)
		}
		if n := strings.Count(texts[e.File], e.Old); n != 1 {
			t.Fatalf("%s has %d times %q, want once", e.File, n, e.Old)
		}
		texts[e.File] = strings.Replace(texts[e.File], e.Old, e.New, 1)
	}
	return texts
}

// Build compiles the tests of the package in the working directory with the mistake, and returns the program. The test
// fails if they do not compile.
func (m Mutant) Build(t testing.TB) (program string) {
	t.Helper()
	dir := t.TempDir()
	program = filepath.Join(dir, "mutant.test")
	build := exec.Command("go", "test", "-c", "-vet=off", "-overlay", m.overlay(t, dir), "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s does not compile: %v\n%s", m.Name, err, out)
	}
	return program
}

// overlay writes the changed files to a directory, and returns the file that names them for the go command.
func (m Mutant) overlay(t testing.TB, dir string) (list string) {
	t.Helper()
	write := func(name string, text []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	files := map[string]string{}
	for name, text := range m.Texts(t) {
		path, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = write(strings.ReplaceAll(filepath.ToSlash(name), "/", "_"), []byte(text))
	}
	text, err := json.Marshal(map[string]any{"Replace": files})
	if err != nil {
		t.Fatal(err)
	}
	return write("overlay.json", text)
}

// Run runs one test of a program that Build has made, with more variables of the environment, and returns what it
// printed and whether it passed. The calling test fails if the program ends in another way than by the result of that
// test or by a panic, for example because it is killed.
func Run(t testing.TB, program, test string, environment ...string) (output string, passed bool) {
	t.Helper()
	c := exec.Command(program, "-test.v", "-test.timeout=30m", "-test.run=^"+test+"$")
	c.Env = append(os.Environ(), environment...)
	out, err := c.CombinedOutput()
	output = string(out)
	begun := strings.Contains(output, "=== RUN   "+test+"\n")
	if !begun || err != nil && !strings.Contains(output, "--- FAIL: "+test+" ") && !Panics(output) {
		t.Fatalf("%s has no result: %v\n%s", test, err, output)
	}
	return output, err == nil
}

// FirstProblem returns the first line of the output of a test that a test has written, without lines that contain one
// of the texts in except. If a panic comes earlier, it returns the first line of that. If there is neither, it returns
// all of the output.
func FirstProblem(output string, except ...string) string {
	for _, line := range strings.Split(output, "\n") {
		if Panics(line) {
			return line
		}
		_, what, ok := strings.Cut(line, "_test.go:")
		if ok && !slices.ContainsFunc(except, func(text string) bool { return strings.Contains(what, text) }) {
			return what
		}
	}
	return output
}

// Panics reports whether a test that printed this ended by a panic.
func Panics(output string) bool {
	for _, line := range strings.Split(output, "\n") {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return true
		}
	}
	return false
}
