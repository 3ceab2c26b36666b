package internal_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

var (
	codeBlock = regexp.MustCompile("(?ms)^```.*?^```")
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading   = regexp.MustCompile(`(?m)^#+ (.*)$`)
	linkText  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	notInID   = regexp.MustCompile(`[^\pL\pN_ -]`)
)

// TestLinksOfDocuments follows the links between the Markdown files of the repository, to headings too.
func TestLinksOfDocuments(t *testing.T) {
	documents := map[string]string{} // text without code, by path
	err := fs.WalkDir(os.DirFS(".."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(name, ".") && name != ".":
			return fs.SkipDir
		case path.Ext(name) == ".md":
			documents[name] = codeBlock.ReplaceAllString(readDocument(t, name), "")
		}
		return nil
	})
	if err != nil || len(documents) < 20 {
		t.Fatalf("%d documents, %v", len(documents), err)
	}
	for name, text := range documents {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			file, id, _ := strings.Cut(m[1], "#")
			if strings.Contains(m[1], "://") {
				continue
			}
			to := name
			if file != "" {
				to = path.Join(path.Dir(name), file)
			}
			if _, err := os.Stat("../" + to); err != nil {
				t.Errorf("%s: the link to %s: %v", name, m[1], err)
			} else if target, ok := documents[to]; ok && id != "" && !hasHeading(target, id) {
				t.Errorf("%s: the link to %s: there is no such heading", name, m[1])
			}
		}
	}
}

// hasHeading reports whether a heading has the id that GitHub gives it: "how-much-disk" for "## How much disk".
func hasHeading(text, id string) bool {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		words := linkText.ReplaceAllString(m[1], "$1")
		if strings.ReplaceAll(notInID.ReplaceAllString(strings.ToLower(words), ""), " ", "-") == id {
			return true
		}
	}
	return false
}
