package main

import (
	"archive/tar"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// writeArchive writes the image as an OCI layout in a tar file, which containerd (and with
// it kind and k3d) imports under the reference. It is renamed into place when it is whole.
func writeArchive(img v1.Image, reference, file string) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".image-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = writeLayout(f, img, reference)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

func writeLayout(w io.Writer, img v1.Image, reference string) error {
	tw := tar.NewWriter(w)
	put := func(name string, content []byte) error {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o644}); err != nil {
			return err
		}
		_, err := tw.Write(content)
		return err
	}
	putBlob := func(h v1.Hash, content []byte) error { return put("blobs/"+h.Algorithm+"/"+h.Hex, content) }

	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
		Platform:    &v1.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Annotations: map[string]string{"io.containerd.image.name": reference},
	}})
	im, err := index.IndexManifest()
	if err != nil {
		return err
	}
	indexJSON, err := json.Marshal(im)
	if err != nil {
		return err
	}
	if err := put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := put("index.json", indexJSON); err != nil {
		return err
	}
	blobs, err := content(img)
	if err != nil {
		return err
	}
	for _, b := range blobs {
		if err := putBlob(b.hash, b.bytes); err != nil {
			return err
		}
	}
	return tw.Close()
}

type blob struct {
	hash  v1.Hash
	bytes []byte
}

// content returns manifest, configuration and layers.
func content(img v1.Image) ([]blob, error) {
	var blobs []blob
	add := func(h v1.Hash, err1 error, b []byte, err2 error) error {
		if err1 != nil {
			return err1
		}
		blobs = append(blobs, blob{h, b})
		return err2
	}
	h, err1 := img.Digest()
	b, err2 := img.RawManifest()
	if err := add(h, err1, b, err2); err != nil {
		return nil, err
	}
	h, err1 = img.ConfigName()
	b, err2 = img.RawConfigFile()
	if err := add(h, err1, b, err2); err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		r, err := l.Compressed()
		if err != nil {
			return nil, err
		}
		h, err1 := l.Digest()
		b, err2 := io.ReadAll(r)
		if err := add(h, err1, b, err2); err != nil {
			return nil, err
		}
	}
	return blobs, nil
}
