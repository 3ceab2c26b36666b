package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"
)

// prometheus/config stops at the first problem, and mostly says neither line nor key. So a piece of a file (a job, an
// endpoint) that it refuses is narrowed down to the key whose removal it would accept; that is reported and removed,
// and the rest is asked again, until the rest passes.

const (
	maxProblemsAPiece = 25
	// maxNarrowing bounds the values that are decoded again while looking for the key at fault; past it the report
	// stays at the job.
	maxNarrowing = 2_000_000
)

// piece is a part of a file that can be decoded by itself.
type piece struct {
	src    *source
	path   string // of the piece, as scrape_configs[0]
	job    string
	node   *yaml.Node
	decode func(*yaml.Node) error

	budget int
	spots  map[*yaml.Node]spot       // of every value, as written
	origin map[*yaml.Node]*yaml.Node // of copies: what they are a copy of
	lost   map[*yaml.Node][]string   // by original mapping: keys that were removed
}

// spot is where a value stands.
type spot struct {
	path string
	line int // of its key, if it has one
}

// settle reports everything that is wrong with a piece and returns what is left without that; nil: nothing is.
func (l *loader) settle(p *piece) *yaml.Node {
	p.budget = maxNarrowing
	p.spots, p.origin, p.lost = map[*yaml.Node]spot{}, map[*yaml.Node]*yaml.Node{}, map[*yaml.Node][]string{}
	p.chart(p.node, spot{p.path, p.node.Line})
	rest := p.node
	for range maxProblemsAPiece {
		err := p.decode(rest)
		if err == nil {
			return rest
		}
		msg := messages(err)[0]
		at := p.locate(rest, msg)
		if !p.induced(at.node, msg) {
			l.reportRefusal(p, at.node, msg)
		}
		if len(at.steps) == 0 {
			return nil
		}
		rest = p.remove(rest, at.steps)
	}
	return nil
}

// induced: the message is about a key that is missing only because it was reported and removed.
func (p *piece) induced(n *yaml.Node, msg string) bool {
	for _, key := range p.lost[p.original(n)] {
		if mention(msg, key) >= 0 {
			return true
		}
	}
	return false
}

// chart notes where every value stands.
func (p *piece) chart(n *yaml.Node, s spot) {
	p.spots[n] = s
	switch n.Kind {
	case yaml.SequenceNode:
		for i, c := range n.Content {
			p.chart(c, spot{fmt.Sprintf("%s[%d]", s.path, i), c.Line})
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			p.chart(n.Content[i+1], spot{join(s.path, n.Content[i].Value), n.Content[i].Line})
		}
	}
}

// original is the value as written that n is, or is a copy of.
func (p *piece) original(n *yaml.Node) *yaml.Node {
	if o := p.origin[n]; o != nil {
		return o
	}
	return n
}

// remove drops what steps lead to, and copies the way there.
func (p *piece) remove(n *yaml.Node, steps []int) *yaml.Node {
	if len(steps) == 1 {
		less := drop(n, steps[0])
		p.origin[less] = p.original(n)
		if n.Kind == yaml.MappingNode {
			p.lost[p.original(n)] = append(p.lost[p.original(n)], n.Content[2*steps[0]].Value)
		}
		return less
	}
	kept := *n
	kept.Content = append([]*yaml.Node(nil), n.Content...)
	c := childIndex(n, steps[0])
	kept.Content[c] = p.remove(n.Content[c], steps[1:])
	p.origin[&kept] = p.original(n)
	return &kept
}

// childIndex is where the i-th value stands in Content.
func childIndex(n *yaml.Node, i int) int {
	if n.Kind == yaml.MappingNode {
		return 2*i + 1
	}
	return i
}

// place is a value of a piece and the way to it.
type place struct {
	node  *yaml.Node
	steps []int
}

var linePrefix = regexp.MustCompile(`^line (\d+): `)

// messages splits an error into what prometheus/config has to say, without the lines of the printed tree.
func messages(err error) []string {
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

// count is how often a message is among those of an error.
func count(err error, msg string) int {
	n := 0
	if err != nil {
		for _, m := range messages(err) {
			if m == msg {
				n++
			}
		}
	}
	return n
}

// try decodes a changed tree, unless the budget is used up.
func (p *piece) try(tree *yaml.Node) (error, bool) {
	if p.budget -= size(tree); p.budget < 0 {
		return nil, false
	}
	return p.decode(tree), true
}

func size(n *yaml.Node) int {
	total := 1
	for _, c := range n.Content {
		total += size(c)
	}
	return total
}

// wrap puts inner in place of what steps lead to, copying the way there.
func wrap(tree *yaml.Node, steps []int, inner *yaml.Node) *yaml.Node {
	if len(steps) == 0 {
		return inner
	}
	kept := *tree
	kept.Content = append([]*yaml.Node(nil), tree.Content...)
	c := childIndex(tree, steps[0])
	kept.Content[c] = wrap(tree.Content[c], steps[1:], inner)
	return &kept
}
