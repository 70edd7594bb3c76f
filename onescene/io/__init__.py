"""Files and their foreign conventions: Gaussians, cameras, images, video. Everything is written whole or not at all."""
