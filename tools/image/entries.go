package main

import (
	"archive/tar"
	"io"
	"os"
	"path"
	"time"
)

// An entry is a file of an archive, or a folder if it has no content.
type entry struct {
	name    string // with slashes; the name of a folder ends in one
	mode    int64
	owner   int // user and group
	content []byte
}

// writeTar writes entries in the given order, all with the same time.
func writeTar(w io.Writer, entries []entry, at time.Time) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{
			Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode,
			Uid: e.owner, Gid: e.owner, Size: int64(len(e.content)), ModTime: at,
		}
		if e.name[len(e.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(e.content); err != nil {
			return err
		}
	}
	return t.Close()
}

// fileEntry reads a file for an archive.
func fileEntry(from, name string, mode int64) (entry, error) {
	content, err := os.ReadFile(from)
	return entry{name: path.Clean(name), mode: mode, content: content}, err
}
