package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func sample(t *testing.T, dir string) *recipe {
	t.Helper()
	source := filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := newRecipe("localhost/sample:dev", nonRoot)
	if err := r.file(source, "/usr/local/bin/program"); err != nil {
		t.Fatal(err)
	}
	r.put("/bin/link", entry{link: "/usr/local/bin/program"})
	r.put("/tmp", entry{dir: true, mode: 0o1777})
	return r
}

func TestTheSameFilesMakeTheSameImage(t *testing.T) {
	digest := func(dir string) v1.Hash {
		img, err := sample(t, dir).image()
		if err != nil {
			t.Fatal(err)
		}
		h, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if a, b := digest(t.TempDir()), digest(t.TempDir()); a != b {
		t.Errorf("digests differ: %s and %s", a, b)
	}
}

func TestBuildSkipsWhatIsCurrent(t *testing.T) {
	dir := t.TempDir()
	archive := filepath.Join(dir, "sample.tar")
	made := func(r *recipe) os.FileInfo {
		t.Helper()
		if err := build(r, archive, ""); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(archive)
		if err != nil {
			t.Fatal(err)
		}
		return fi
	}
	r := sample(t, dir)
	first, again := made(r), made(r)
	if !os.SameFile(first, again) {
		t.Error("an archive with the same files was built again")
	}
	r.put("/etc/new", entry{content: "new", mode: 0o644})
	if os.SameFile(first, made(r)) {
		t.Error("an archive with other files was not built again")
	}
}

func TestArchiveIsAnImageLayout(t *testing.T) {
	dir := t.TempDir()
	archive := filepath.Join(dir, "sample.tar")
	if err := build(sample(t, dir), archive, ""); err != nil {
		t.Fatal(err)
	}
	files := untar(t, archive)
	var index v1.IndexManifest
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	if got := index.Manifests[0].Annotations["io.containerd.image.name"]; got != "localhost/sample:dev" {
		t.Errorf("name %q", got)
	}
	var manifest v1.Manifest
	if err := json.Unmarshal(files["blobs/sha256/"+index.Manifests[0].Digest.Hex], &manifest); err != nil {
		t.Fatal(err)
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(files["blobs/sha256/"+manifest.Config.Digest.Hex], &config); err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" {
		t.Errorf("user %q", config.Config.User)
	}
	layer := tar.NewReader(bytes.NewReader(files["blobs/sha256/"+manifest.Layers[0].Digest.Hex]))
	modes := map[string]int64{}
	for {
		h, err := layer.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		modes[h.Name] = h.Mode
	}
	for name, want := range map[string]int64{"usr/": 0o755, "usr/local/bin/program": 0o755, "bin/link": 0o777, "tmp/": 0o1777} {
		if modes[name] != want {
			t.Errorf("%s has mode %o, want %o", name, modes[name], want)
		}
	}
}

func TestDynamicProgramsAreRefused(t *testing.T) {
	if err := mustBeStatic("/bin/ls"); err == nil {
		t.Error("a program that needs a loader was taken for static")
	}
}

func untar(t *testing.T, file string) map[string][]byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
