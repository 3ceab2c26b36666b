package publish

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Documents returns the files that show the figures of all fleets, with their new content. root is the repository.
func Documents(root string) (map[string]string, error) {
	s, err := Read(figuresFile(root, "S"))
	if err != nil {
		return nil, err
	}
	out := map[string]string{filepath.Join(root, "docs/images/cost.svg"): s.bars()}
	blocks := map[string]map[string]string{
		"README.md":           {"S": s.shortTable()},
		"docs/performance.md": {"S": s.fullTable()},
	}
	for _, fleet := range []string{"L", "M"} {
		f, err := Read(figuresFile(root, fleet))
		if err != nil {
			return nil, err
		}
		blocks["docs/performance.md"][fleet] = f.fullTable()
	}
	var errs []error
	for name, blocks := range blocks {
		file := filepath.Join(root, name)
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		replaced := string(text)
		for fleet, block := range blocks {
			if replaced, err = replaceBlock(replaced, fleet, block); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", file, err))
			}
		}
		out[file] = replaced
	}
	return out, errors.Join(errs...)
}

// Write keeps the figures of a fleet and writes all documents. It returns the names of the files.
func Write(root, fleet string, f Figures) ([]string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(f); err != nil {
		return nil, err
	}
	names := []string{figuresFile(root, fleet)}
	if err := os.WriteFile(names[0], b.Bytes(), 0o644); err != nil {
		return nil, err
	}
	documents, err := Documents(root)
	if err != nil {
		return nil, err
	}
	for file, text := range documents {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return nil, err
		}
		names = append(names, file)
	}
	return names, nil
}

func figuresFile(root, fleet string) string {
	return filepath.Join(root, "bench/figures", fleet+".json")
}

// replaceBlock puts block between the two markers of a fleet:
//
//	<!-- make bench FLEET=S writes this: begin -->
//	<!-- make bench FLEET=S writes this: end -->
func replaceBlock(text, fleet, block string) (string, error) {
	marker := "<!-- make bench FLEET=" + fleet + " writes this: "
	before, rest, found := strings.Cut(text, marker+"begin -->\n")
	_, after, ended := strings.Cut(rest, marker+"end -->\n")
	if !found || !ended {
		return text, fmt.Errorf("the markers %q begin --> and end --> are missing", marker)
	}
	return before + marker + "begin -->\n" + block + marker + "end -->\n" + after, nil
}
