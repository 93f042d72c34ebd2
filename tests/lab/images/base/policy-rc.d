#!/bin/sh
# No service starts while an image is built. A VPS does not have this file.
exit 101
