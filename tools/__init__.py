"""The commands of `refstar` and `basicsr`, one file each."""
