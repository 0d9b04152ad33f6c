"""unetq: quantized U-Nets for medical image segmentation."""
