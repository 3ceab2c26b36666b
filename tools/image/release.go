package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"time"
)

func releasePlatforms() []platform {
	var all []platform
	for _, system := range []string{"linux", "darwin", "windows"} {
		all = append(all, platform{system, "amd64"}, platform{system, "arm64"})
	}
	return all
}

// release writes an archive and a bill of materials for each platform, and their checksums.
func (b build) release() error {
	var names []string
	for _, p := range releasePlatforms() {
		binary, err := b.compile(p)
		if err != nil {
			return err
		}
		base := "envoy-scraper-" + b.version + "." + p.String()
		entries, err := b.releaseEntries(binary, base)
		if err != nil {
			return err
		}
		name, write := base+".tar.gz", writeTarGzip
		if p.os == "windows" {
			name, write = base+".zip", writeZip
		}
		var out bytes.Buffer
		if err := write(&out, entries, b.created); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(b.out, name), out.Bytes(), 0o644); err != nil {
			return err
		}
		if err := writeBill(binary, filepath.Join(b.out, base+".cdx.json"), b.version); err != nil {
			return err
		}
		names = append(names, name, base+".cdx.json")
	}
	return sums(b.out, names)
}

// releaseEntries lists the files of an archive. They are in a folder with the archive's name.
func (b build) releaseEntries(binary, folder string) ([]entry, error) {
	program, err := fileEntry(binary, folder+"/"+filepath.Base(binary), 0o755)
	if err != nil {
		return nil, err
	}
	entries := []entry{{name: folder + "/", mode: 0o755}, program}
	for _, name := range []string{"LICENSE", "README.md"} {
		e, err := fileEntry(filepath.Join(b.root, name), folder+"/"+name, 0o644)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func writeTarGzip(w io.Writer, entries []entry, at time.Time) error {
	z := gzip.NewWriter(w)
	if err := writeTar(z, entries, at); err != nil {
		return err
	}
	return z.Close()
}

func writeZip(w io.Writer, entries []entry, at time.Time) error {
	z := zip.NewWriter(w)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: at}
		mode := os.FileMode(e.mode)
		if e.name[len(e.name)-1] == '/' {
			mode |= os.ModeDir
		}
		h.SetMode(mode)
		f, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := f.Write(e.content); err != nil {
			return err
		}
	}
	return z.Close()
}
