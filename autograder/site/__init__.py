"""The course as a website: `make site` executes the solutions and makes pages of them in build/site."""
