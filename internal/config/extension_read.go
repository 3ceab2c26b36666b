package config

import (
	"errors"

	"go.yaml.in/yaml/v3"
)

// readExtension settles our own block.
func (l *loader) readExtension(src *source, key, value *yaml.Node) {
	p := &piece{src: src, path: extensionKey, node: value}
	p.decode = func(n *yaml.Node) error {
		var e Extension
		return decodeStrict(n, &e)
	}
	l.extAt = p
	if isEmpty(value) {
		return
	}
	if rest := l.settle(p); rest != nil {
		_ = decodeStrict(rest, &l.ext) // it has just passed
	}
}

// checkExtension reports what the block says of jobs that are not there.
func (l *loader) checkExtension() {
	if l.extAt == nil {
		return
	}
	var names []string
	for _, j := range l.jobs {
		names = append(names, jobName(j.node))
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(l.ext.Validate(names), &joined) {
		return
	}
	for _, err := range joined.Unwrap() {
		p := Problem{File: l.extAt.src.name, Line: l.extAt.node.Line, Key: extensionKey, Why: err.Error(), Fix: "correct it, or remove it"}
		var ke keyError
		if errors.As(err, &ke) {
			p.Key, p.Value, p.Why = extensionKey+"."+ke.key, ke.value, ke.why
			p.Line = l.lineAt(l.extAt, p.Key)
		}
		l.add(p)
	}
}

// lineAt is the line of a path of a settled piece.
func (l *loader) lineAt(p *piece, path string) int {
	for _, s := range p.spots {
		if s.path == path {
			return s.line
		}
	}
	return p.node.Line
}
