// Package locate finds every value of a part of a configuration (a job, an endpoint) that a decoder refuses.
//
// prometheus/config stops at the first error and mostly names neither line nor key. Refusals therefore repeats:
//   - decode the part (part.go). Without an error, the search ends.
//   - find the deepest value that causes the error by removing values and decoding again (search.go),
//   - report that value, and remove it from the part.
//
// Example: of {job_name: a, foo: 1, scrape_interval: often} the decoder first refuses foo, then, without foo,
// scrape_interval.
package locate

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

const (
	// maxRefusals is the most errors that are reported for one part.
	maxRefusals = 25
	// maxDecodedValues limits the work for one part: the number of values in all trees that are decoded. After that,
	// an error is reported for the value that the search has reached.
	maxDecodedValues = 2_000_000
)

// Refusal is a value that the decoder refuses.
type Refusal struct {
	Node    *yaml.Node // as written in the file
	Message string     // of the decoder, without line numbers
}

// Part is a part of a file that can be decoded on its own.
type Part struct {
	root   *yaml.Node
	decode func(*yaml.Node) error

	budget    int                       // remaining of maxDecodedValues
	positions map[*yaml.Node]Position   // of every value as written
	originals map[*yaml.Node]*yaml.Node // by edited copy: the mapping or list as written
	removed   map[*yaml.Node][]string   // by mapping as written: its keys that were reported and removed
}

// Position is where a value was written.
type Position struct {
	Path string // as scrape_configs[0].relabel_configs[2].regex
	Line int    // of the key, if the value has one
}

// NewPart returns the part whose root was written at path.
func NewPart(root *yaml.Node, path string, decode func(*yaml.Node) error) *Part {
	p := &Part{root: root, decode: decode, budget: maxDecodedValues, positions: map[*yaml.Node]Position{},
		originals: map[*yaml.Node]*yaml.Node{}, removed: map[*yaml.Node][]string{}}
	p.recordPositions(root, Position{path, root.Line})
	return p
}

// Position returns where a value as written stands.
func (p *Part) Position(n *yaml.Node) Position { return p.positions[n] }

// LineOf returns the line of the value at a path, or the line of the part if there is no such value.
func (p *Part) LineOf(path string) int {
	for _, at := range p.positions {
		if at.Path == path {
			return at.Line
		}
	}
	return p.root.Line
}

// Refusals returns the part without the values that the decoder refuses, and those values. The part is nil if its root
// is refused.
func (p *Part) Refusals() (accepted *yaml.Node, refused []Refusal) {
	rest := p.root
	for range maxRefusals {
		err := p.decode(rest)
		if err == nil {
			return rest, refused
		}
		msg := Messages(err)[0]
		cause := p.findCause(rest, msg)
		if !p.causedByRemoval(cause.node, msg) {
			refused = append(refused, Refusal{p.original(cause.node), msg})
		}
		if len(cause.steps) == 0 {
			return nil, refused
		}
		rest = p.remove(rest, cause.steps)
	}
	return nil, refused
}

// causedByRemoval reports whether the message is about a key that is missing because it was refused before.
func (p *Part) causedByRemoval(n *yaml.Node, msg string) bool {
	for _, key := range p.removed[p.original(n)] {
		if mention(msg, key) >= 0 {
			return true
		}
	}
	return false
}

// Node returns the value as written at a path, or nil.
func (p *Part) Node(path string) *yaml.Node {
	for n, at := range p.positions {
		if at.Path == path {
			return n
		}
	}
	return nil
}

func (p *Part) recordPositions(n *yaml.Node, at Position) {
	p.positions[n] = at
	switch n.Kind {
	case yaml.SequenceNode:
		for i, c := range n.Content {
			p.recordPositions(c, Position{fmt.Sprintf("%s[%d]", at.Path, i), c.Line})
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			p.recordPositions(n.Content[i+1], Position{yamltree.Join(at.Path, key.Value), key.Line})
		}
	}
}

// original returns the value as written of which n may be an edited copy.
func (p *Part) original(n *yaml.Node) *yaml.Node {
	if o := p.originals[n]; o != nil {
		return o
	}
	return n
}

// remove returns a copy of n without the value to which steps lead. Only the mappings and lists on the way are copied.
func (p *Part) remove(n *yaml.Node, steps []int) *yaml.Node {
	if len(steps) == 1 {
		less := yamltree.Without(n, steps[0])
		p.originals[less] = p.original(n)
		if n.Kind == yaml.MappingNode {
			p.removed[p.original(n)] = append(p.removed[p.original(n)], n.Content[2*steps[0]].Value)
		}
		return less
	}
	kept := *n
	kept.Content = append([]*yaml.Node(nil), n.Content...)
	c := childIndex(n, steps[0])
	kept.Content[c] = p.remove(n.Content[c], steps[1:])
	p.originals[&kept] = p.original(n)
	return &kept
}

// tryDecode decodes an edited tree. ok is false if the budget is used up.
func (p *Part) tryDecode(tree *yaml.Node) (err error, ok bool) {
	if p.budget -= countValues(tree); p.budget < 0 {
		return nil, false
	}
	return p.decode(tree), true
}

func countValues(n *yaml.Node) int {
	total := 1
	for _, c := range n.Content {
		total += countValues(c)
	}
	return total
}

var linePrefix = regexp.MustCompile(`^line (\d+): `)

// Messages splits an error of a decoder into its messages. They lose their line numbers, which are lines of the text
// that was printed for the decoder, not of the file.
func Messages(err error) []string {
	var te *yamlv2.TypeError
	if !errors.As(err, &te) || len(te.Errors) == 0 {
		return []string{strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	var out []string
	for _, e := range te.Errors {
		out = append(out, linePrefix.ReplaceAllString(e, ""))
	}
	return out
}
