package config

import (
	"errors"

	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/locate"
	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// readExtension settles our own block.
func (l *loader) readExtension(src *source, key, value *yaml.Node) {
	l.extPart, l.extFile = locate.NewPart(value, extensionKey, func(n *yaml.Node) error {
		return yamltree.DecodeStrict(n, new(Extension))
	}), src.name
	if yamltree.IsEmpty(value) {
		return
	}
	if rest := l.check(src, "", l.extPart); rest != nil {
		_ = yamltree.DecodeStrict(rest, &l.ext) // it has just passed
	}
}

// checkExtension reports what the block says of jobs that are not there.
func (l *loader) checkExtension() {
	if l.extPart == nil {
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
		p := Problem{File: l.extFile, Line: l.extPart.LineOf(extensionKey), Key: extensionKey, Why: err.Error(),
			Fix: "correct it, or remove it"}
		var ke keyError
		if errors.As(err, &ke) {
			p.Key, p.Value, p.Why = extensionKey+"."+ke.key, ke.value, ke.why
			p.Line = l.extPart.LineOf(p.Key)
		}
		l.add(p)
	}
}
