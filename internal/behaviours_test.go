package internal_test

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// numberedLists says which document has the list of a number, by the number's letters. A test that holds a promise has
// its number in its name: TestRow06VanishedTarget holds row 6 of docs/behaviours.md, and TestT9Redirects holds T9 of
// docs/reliability.md.
var numberedLists = map[string]string{
	"Row": "docs/behaviours.md",
	"S":   "SECURITY.md",
	"R":   faults, "C": faults, "D": faults, "T": faults, "K": faults, "N": faults, "F": faults, "M": faults,
}

const (
	faults = "docs/reliability.md"

	behaviours = 65 // rows of docs/behaviours.md
	notDone    = 53 // the row without a test: a last scrape at shutdown
)

var (
	// numberedTest matches TestRow06VanishedTarget and TestS08S09S12Exposures.
	numberedTest = regexp.MustCompile(`^Test((?:Row\d\d|[RCDTKNFMS]\d\d?)+)[A-Z]`)
	number       = regexp.MustCompile(`(Row|[RCDTKNFMS])(\d\d?)`)

	// numberedRow matches "| 6 | … |" and "| T9 | … |".
	numberedRow = regexp.MustCompile(`(?m)^\| ([RCDTKNFMS]?)(\d+) \|(.*)$`)
	testName    = regexp.MustCompile(`\bTest[A-Z]\w*`)
)

// A promise is one row of a numbered list.
type promise struct {
	letters string // as in numberedLists
	number  int
}

func newPromise(letters, digits string) promise {
	n, _ := strconv.Atoi(digits)
	return promise{cmp.Or(letters, "Row"), n}
}

// TestNumberedTestsHaveARow fails if a test with a number is not named in the row of that number, and if a behaviour of
// Prometheus has no row or no test. The message has the name to add.
func TestNumberedTestsHaveARow(t *testing.T) {
	rows := map[promise][]string{} // the tests that each row names
	for _, document := range slices.Compact(slices.Sorted(maps.Values(numberedLists))) {
		for _, m := range numberedRow.FindAllStringSubmatch(readDocument(t, document), -1) {
			p := newPromise(m[1], m[2])
			if _, again := rows[p]; again || numberedLists[p.letters] != document {
				t.Errorf("%s: %s%d has two rows, or belongs into another document", document, m[1], p.number)
			}
			rows[p] = testName.FindAllString(m[3], -1)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(testNames(t))) {
		m := numberedTest.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		for _, n := range number.FindAllStringSubmatch(m[1], -1) {
			p := newPromise(n[1], n[2])
			if !slices.Contains(rows[p], name) {
				t.Errorf("%s: add `%s` to the row of %s", numberedLists[p.letters], name, n[0])
			}
		}
	}
	for n := 1; n <= behaviours; n++ {
		if len(rows[promise{"Row", n}]) == 0 && n != notDone {
			t.Errorf("docs/behaviours.md: row %d is missing or names no test", n)
		}
	}
}

// TestDocumentsNameTestsThatExist fails if a document says that a test holds a promise and there is no such test. A
// name that ends in … stands for all tests that begin so.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	names := testNames(t)
	documents, err := fs.Glob(os.DirFS(".."), "docs/*.md")
	if err != nil || len(documents) == 0 {
		t.Fatalf("%d documents, %v", len(documents), err)
	}
	mention := regexp.MustCompile(`\b(Test[A-Z]\w*)(…?)`)
	for _, document := range append(documents, "SECURITY.md") {
		for _, m := range mention.FindAllStringSubmatch(readDocument(t, document), -1) {
			found := names[m[1]]
			for name := range names {
				found = found || m[2] != "" && strings.HasPrefix(name, m[1])
			}
			if !found {
				t.Errorf("%s names %s, but there is no such test", document, m[0])
			}
		}
	}
}

func readDocument(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile("../" + file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// testNames returns the names of all tests of the repository, its other modules included.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	repository := os.DirFS("..")
	err := fs.WalkDir(repository, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := fs.ReadFile(repository, path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declared := range file.Decls {
			if f, ok := declared.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
