package publish

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// otherFleets are those of docs/performance.md beside S. An optional one may not have been measured yet: then its block
// is empty, and so head, which introduces its table, is a part of the block.
var otherFleets = []struct {
	name     string
	optional bool
	head     string
}{
	{name: "L"}, {name: "M"},
	{"N", true, "A node's agent, the most usual size (fleet N), where waking up is most of the work:\n\n"},
	{"XL", true, "A whole mesh at one agent (fleet XL):\n\n"},
}

// Documents returns the files that show the figures of all fleets, with their new content. root is the repository.
func Documents(root string) (map[string]string, error) {
	s, err := Read(figuresFile(root, "S"))
	if err != nil {
		return nil, err
	}
	out := map[string]string{filepath.Join(root, "docs/images/cost.svg"): s.bars()}
	whole, err := readWhole(root)
	if err != nil {
		return nil, err
	}
	blocks := map[string]map[string]string{ // document, then the command that writes the block
		"README.md":           {fleetMarker("S"): s.shortTable()},
		"docs/performance.md": {fleetMarker("S"): s.fullTable(), wholeMarker: whole.table()},
	}
	for _, fleet := range otherFleets {
		f, err := Read(figuresFile(root, fleet.name))
		switch {
		case err == nil:
			blocks["docs/performance.md"][fleetMarker(fleet.name)] = fleet.head + f.fullTable()
		case fleet.optional && errors.Is(err, fs.ErrNotExist): // the block in the document is empty
			blocks["docs/performance.md"][fleetMarker(fleet.name)] = ""
		default:
			return nil, err
		}
	}
	var errs []error
	for name, blocks := range blocks {
		file := filepath.Join(root, name)
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		replaced := string(text)
		for command, block := range blocks {
			if replaced, err = replaceBlock(replaced, command, block); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", file, err))
			}
		}
		out[file] = replaced
	}
	return out, errors.Join(errs...)
}

// Write keeps the figures of a fleet and writes all documents. It returns the names of the files.
func Write(root, fleet string, f Figures) ([]string, error) {
	return write(root, figuresFile(root, fleet), f)
}

// write keeps figures in a file and writes all documents.
func write(root, file string, figures any) ([]string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(figures); err != nil {
		return nil, err
	}
	names := []string{file}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
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

// fleetMarker is the command in the markers of a fleet's block.
func fleetMarker(fleet string) string { return "make bench FLEET=" + fleet }

// replaceBlock puts block between the two markers that name the command which writes it:
//
//	<!-- make bench FLEET=S writes this: begin -->
//	<!-- make bench FLEET=S writes this: end -->
func replaceBlock(text, command, block string) (string, error) {
	marker := "<!-- " + command + " writes this: "
	before, rest, found := strings.Cut(text, marker+"begin -->\n")
	_, after, ended := strings.Cut(rest, marker+"end -->\n")
	if !found || !ended {
		return text, fmt.Errorf("the markers %q begin --> and end --> are missing", marker)
	}
	return before + marker + "begin -->\n" + block + marker + "end -->\n" + after, nil
}
